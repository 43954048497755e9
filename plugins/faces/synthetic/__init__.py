"""Synthetic faces: people, their rendered faces, whole scenes."""
