"""Strokes: what a drawing consists of, where strokes start, the order a plotter draws them in."""
