"""Continuous batching of many adapters on one backbone."""
