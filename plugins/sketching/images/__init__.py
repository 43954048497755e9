"""The images that are drawn: photographs and digits."""
