"""Many clients at one server for minutes, every answer held against the one that was given without any load."""
