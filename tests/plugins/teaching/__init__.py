"""Tests of the teaching plugin."""
