"""Policy gradients over recorded steps with value predictions: A2C, PPO, V-trace, UPGO."""
