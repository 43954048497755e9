"""The exact gradient by variable elimination: the factor graph of a program's finite draws, and the sums over it."""
