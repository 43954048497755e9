"""The exact gradient by enumeration: sums over all values of finite draws, or over the tree of draws."""
