"""Players that are not learned: chance, depth-limited minimax, Monte-Carlo tree search, and scripts."""
