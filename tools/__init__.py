"""Tools beside the package."""
