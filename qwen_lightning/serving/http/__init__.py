"""The OpenAI-compatible HTTP interface and its page."""
