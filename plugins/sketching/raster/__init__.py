"""The differentiable rasteriser: strokes to pixels, in torch or numba."""
