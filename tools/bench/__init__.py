"""What the speed benchmarks share: models of random weights, the clock, FLOPs and the table."""
