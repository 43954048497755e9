"""Gradients through a learned critic, from a replay buffer: SAC, TD3, DQN."""
