"""The command `diffobj demo`."""
