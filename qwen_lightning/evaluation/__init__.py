"""Evaluation: suites on a model."""
