"""One 4-bit Qwen3-8B, a family of LoRA adapters, and the brakes that keep what the base could do."""

__version__ = "0.1.0"
