"""SVG: reading and writing drawings."""
