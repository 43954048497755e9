"""Families of detectors; each file is one idea."""
