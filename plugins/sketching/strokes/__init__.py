"""Strokes: what a drawing consists of, where its strokes start, and in which order a plotter draws them."""
