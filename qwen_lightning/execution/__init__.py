"""Execution: where model-written queries run, and what is known of them without running."""
