"""Differentiable sketching: stroke coordinates -> picture, fitted to a photograph by gradient descent."""

from framework.plugin import Plugin

plugin = Plugin(
    name="sketching",
    summary="A photograph becomes a drawing: strokes are moved by the gradient of a rasteriser.",
    tasks={
        "sketch": "plugins.sketching.sketch:Sketch",
        "stochastic_sketch": "plugins.sketching.stochastic:StochasticSketch",
        "sketch_autoencoder": "plugins.sketching.autoencoder:SketchAutoencoder",
    },
    losses={
        "squared": "plugins.sketching.losses:squared",
        "blurred": "plugins.sketching.losses:blurred_squared",
        "pyramid": "plugins.sketching.losses:pyramid",
        "dog_pyramid": "plugins.sketching.losses:dog_pyramid",
        "edge": "plugins.sketching.losses:edge",
        "chamfer": "plugins.sketching.losses:chamfer",
        "ssim": "plugins.sketching.losses:ssim",
        "perceptual": "plugins.sketching.losses:perceptual",
    },
)
