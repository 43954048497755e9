"""The ways to obtain a gradient, one idea per file."""
