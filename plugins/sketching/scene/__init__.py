"""Scenes as SVG has them: compound fills and strokes over one another, in colours and gradients, all learnable."""
