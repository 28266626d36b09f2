"""Adapters: folders, manifests."""
