"""Biased estimators for discrete draws: Gumbel-softmax and the straight-through family."""
