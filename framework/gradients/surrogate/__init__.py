"""The DiCE surrogate of sampled runs, its baselines and the rules by site."""
