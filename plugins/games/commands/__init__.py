"""What `diffobj` does with environments."""
