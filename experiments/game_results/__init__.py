"""A study: what games are learned, how well and how fast."""
