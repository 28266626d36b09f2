"""Rewards: what a verdict is worth."""
