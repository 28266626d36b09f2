"""Serving: requests find their adapter, and one backbone answers them all."""
