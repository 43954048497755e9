"""The verbs of the command `diffobj`, one file each. A verb's first docstring line is its help."""
