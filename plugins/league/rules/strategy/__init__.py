"""A small real-time strategy game: gather ore, build, make units, destroy the other side's base.

Both sides decide at the same time, each sees only what is near its own units, and the board is the same for both: its
point reflection exchanges the sides.
"""
