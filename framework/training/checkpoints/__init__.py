"""Checkpoints: which are made and kept, what they hold, and how a run goes on from one."""
