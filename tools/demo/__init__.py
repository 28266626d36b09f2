"""The learning demo: a small language of its own, data in it, and a small Qwen3 that speaks it."""
