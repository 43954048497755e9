"""Differentiable sketching: stroke coordinates -> picture, fitted to a photograph by gradient descent."""

from framework.plugin import Plugin

plugin = Plugin(
    name="sketching",
    summary="A photograph becomes a drawing: strokes are moved by the gradient of a rasteriser.",
)
