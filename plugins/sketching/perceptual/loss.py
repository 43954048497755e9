"""The distance of pictures in a network's eyes (Johnson et al. 2016; by CLIP, Vinker et al. 2022)."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from plugins.sketching.losses import Loss, average, total
from plugins.sketching.perceptual.networks import network_of


def perceptual(
    target: Tensor, *, weights: str, model: str | None = None, quick_gelu: bool | None = None
) -> Loss:
    """Squared distance of a network's normalised features at several depths.

    Args:
        weights: a file of the user's, `.pth` or `.safetensors`: a state dict of torchvision's VGG (such as
            vgg16-397923af.pth) or vision transformers, of DINO's or DINOv2's, of CLIP's (OpenAI's names, which
            open_clip has, too), or of the network `model`.
        model: a network of timm by name, such as resnet50; None: the file's names and shapes say what it is.
        quick_gelu: of CLIP's: whether it was trained with OpenAI's approximation of the GELU; None: the file says.

    Raises:
        UserError: no such file, weights of another network, or a CLIP's whose file does not say what is asked above.
    """
    network = network_of(Path(weights).expanduser(), model, quick_gelu, target.device)
    target_features = network.features(target)

    def loss(picture: Tensor) -> Tensor:
        pairs = zip(network.features(picture), target_features, strict=True)
        return total(average((a - b) ** 2) for a, b in pairs).reshape(picture.shape[:-3])

    return loss
