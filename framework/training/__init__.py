"""Training: the loop and what surrounds it: the run folder, checkpoints, resuming, monitoring, optimisers."""
