"""Perceptual guidance by networks whose weights the user names: nothing is downloaded."""
