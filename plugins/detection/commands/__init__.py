"""The commands that detection brings."""
