"""Tests of the verbs of `diffobj`."""
