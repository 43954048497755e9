"""Players that search: depth-limited minimax and Monte-Carlo tree search."""
