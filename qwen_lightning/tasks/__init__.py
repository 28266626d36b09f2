"""Tasks: a room a task."""
