"""One 4-bit Qwen3-8B, a family of LoRA adapters, and the brakes that keep what the base could do."""

import logging

# Where an optional CPU kernel is absent, it warns on every import; whoever imports it first must find it silenced.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

__version__ = "0.1.0"
