"""Identity losses: over classes, over pairs, and their margins."""
