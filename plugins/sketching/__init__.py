"""Differentiable sketching: stroke coordinates -> picture, fitted to a photograph by gradient descent."""

from framework.plugin import Plugin

SKETCH = {
    "controls": "control_points",
    "thinnest": "min_width",
    "widest": "max_width",
    "coarse": "coarse_to_fine",
    "attention": "edge_weight",
    "widened": "widening",
    "widened_until": "widening_until",
    "shown": "output_size",
}

plugin = Plugin(
    name="sketching",
    summary="A photograph becomes a drawing: strokes are moved by the gradient of a rasteriser.",
    tasks={
        "sketch": "plugins.sketching.sketch:Sketch",
        "stochastic_sketch": "plugins.sketching.stochastic:StochasticSketch",
        "sketch_autoencoder": "plugins.sketching.autoencoder:SketchAutoencoder",
    },
    needs={"tasks.sketch_autoencoder": "plugins.sketching.needs:autoencoder"},
    renamed={
        "tasks.sketch": SKETCH,
        "tasks.stochastic_sketch": {
            "probability": "initial_probability",
            **{f"sketch.{old}": f"sketch.{new}" for old, new in SKETCH.items()},
        },
        "tasks.sketch_autoencoder": {
            "side": "size",
            "most": "max_images",
            "batch": "batch_size",
            "controls": "control_points",
            "latent": "latent_size",
        },
    },
    losses={
        "squared": "plugins.sketching.losses:squared",
        "blurred": "plugins.sketching.losses:blurred_squared",
        "pyramid": "plugins.sketching.losses:pyramid",
        "dog_pyramid": "plugins.sketching.losses:dog_pyramid",
        "edge": "plugins.sketching.losses:edge",
        "chamfer": "plugins.sketching.losses:chamfer",
        "ssim": "plugins.sketching.losses:ssim",
        "perceptual": "plugins.sketching.perceptual.loss:perceptual",
    },
)
