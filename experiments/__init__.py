"""Studies: one folder each, and the benchmarks."""
