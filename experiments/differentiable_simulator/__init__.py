"""A study: gradients through a simulator and without it, per second."""
