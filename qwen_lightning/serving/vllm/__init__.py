"""Serving through a vLLM server, which has the backbone and the adapters."""
