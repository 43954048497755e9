"""A public table of truth: every estimator over every problem of `experiments.problems`, nothing left out."""
