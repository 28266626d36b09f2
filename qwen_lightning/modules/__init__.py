"""LightningModules: they conduct."""
