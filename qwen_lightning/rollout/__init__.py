"""Rollout: engines, packs, groups and their advantages."""
