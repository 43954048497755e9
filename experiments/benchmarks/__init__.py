"""Benchmarks: each prints ratios of things timed in turn within one run."""
