"""Verbs that train nothing, a file each."""
