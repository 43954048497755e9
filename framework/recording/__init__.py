"""Recording: what a run of a program writes down: its draws, its costs, their axes and what depends on what."""
