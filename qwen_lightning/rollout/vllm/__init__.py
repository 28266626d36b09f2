"""Rollout through a vLLM server."""
