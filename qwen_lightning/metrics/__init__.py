"""Metrics: verdicts and losses, summed over micro-batches and ranks."""
