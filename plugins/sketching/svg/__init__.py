"""SVG: drawings written for any editor, and files of others read as strokes to start from."""
