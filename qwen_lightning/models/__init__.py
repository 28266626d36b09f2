"""Models: the backbone, its adapters, chat rendering."""
