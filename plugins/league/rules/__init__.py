"""Rules of two-player games, batched in torch: thousands of boards in one tensor."""
