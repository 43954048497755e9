"""Faces: found and described by one network, on drawn faces or on photographs of one's own."""

from framework.plugin import Plugin

plugin = Plugin(
    name="faces",
    summary="From an image to boxes, landmarks and a feature for each face that is near for the same person.",
)
