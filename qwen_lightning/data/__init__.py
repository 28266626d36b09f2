"""Data: task mixture, length buckets, prompt schedule, and the datamodules of the stages."""
