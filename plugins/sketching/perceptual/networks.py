"""Which network a file of weights is of, and its features at several depths."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from framework.errors import UserError
from plugins.sketching.perceptual import transformers
from plugins.sketching.perceptual.files import read_weights

# Of ImageNet's pixels.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Of a network's depths, which are compared.
DEPTHS = 3
Run = Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True)
class Network:
    """A network that is not trained.

    Attributes:
        run: pictures `[N, 3, H, W]` -> feature maps `[N, C, h, w]` or tokens `[N, T, C]`.
        side: the pixels of a side that it takes; None: any.
        mean, deviation: of the pixels that it was trained with.
    """

    run: Run
    side: int | None = None
    mean: tuple[float, ...] = MEAN
    deviation: tuple[float, ...] = DEVIATION

    def features(self, picture: Tensor) -> list[Tensor]:
        """The features of `[..., C, H, W]`, grey or in colour, of length 1 at each place: `[N, C, h, w]` each."""
        seen = picture.reshape(-1, *picture.shape[-3:]).expand(-1, 3, -1, -1)
        if self.side is not None:
            seen = functional.interpolate(
                seen, (self.side, self.side), mode="bilinear", antialias=True
            )
        mean, deviation = (
            seen.new_tensor(part)[:, None, None] for part in (self.mean, self.deviation)
        )
        found = self.run((seen - mean) / deviation)
        maps = [one if one.dim() == 4 else one.transpose(1, 2)[..., None] for one in found]
        return [functional.normalize(one, dim=1) for one in maps]


def network_of(
    path: Path, model: str | None, quick_gelu: bool | None, device: torch.device
) -> Network:
    """The network that a file's weights are of.

    Raises:
        UserError: no such file, or weights of another network.
    """
    state = read_weights(path)
    if model is not None:
        return of_timm(state, path, model, device)
    if "features.0.weight" in state:
        return vgg(state, path, device)
    found = transformers.build(state, path, quick_gelu)
    if found is None:
        raise UserError(
            f"{path}: neither torchvision's VGG nor a vision transformer of torchvision, DINO or CLIP "
            f"(its first tensor is '{next(iter(state))}'); task.losses.perceptual.model names a network of timm"
        )
    layers = list(found.network.encoder.layers)
    taps = [layers[-(-len(layers) * k // DEPTHS) - 1] for k in range(1, DEPTHS + 1)]
    run = hooked(frozen(found.network, device), taps)
    return Network(run, int(found.network.image_size), found.mean, found.deviation)


def vgg(state: dict[str, Tensor], path: Path, device: torch.device) -> Network:
    """Torchvision's VGG of any depth: the last activations before each of the first poolings."""
    models = import_module("torchvision.models")
    begin = "features."
    mine = {key[len(begin) :]: v for key, v in state.items() if key.startswith(begin)}
    for name in (
        "vgg16",
        "vgg19",
        "vgg11",
        "vgg13",
        "vgg16_bn",
        "vgg19_bn",
        "vgg11_bn",
        "vgg13_bn",
    ):
        # The weights come from the file: there is nothing to initialise.
        with torch.device("meta"):
            layers = getattr(models, name)().features
        wanted = layers.state_dict()
        if {key: v.shape for key, v in mine.items()} != {key: v.shape for key, v in wanted.items()}:
            continue
        layers.load_state_dict(mine, assign=True)
        pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)][:DEPTHS]
        taps = [layers[i - 1] for i in pools]
        return Network(hooked(frozen(layers[: pools[-1]], device), taps))
    raise UserError(f"{path}: no weights of torchvision's vgg11, 13, 16 or 19")


def of_timm(state: dict[str, Tensor], path: Path, name: str, device: torch.device) -> Network:
    """A network of timm by name, whose features timm selects."""
    try:
        timm = import_module("timm")
    except ModuleNotFoundError:
        raise UserError(f"task.losses.perceptual.model = '{name}' needs the package timm") from None
    if not timm.is_model(name):
        raise UserError(
            f"task.losses.perceptual.model = '{name}': timm has no network of this name"
        )
    # What timm says of a file's other names is said below, where it matters.
    logging.getLogger("timm").setLevel(logging.ERROR)
    try:
        network = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}, features_only=True
        )
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: no weights of timm's {name} ({reason[:200]})") from None
    settings = network.pretrained_cfg
    side = settings["input_size"][-1] if settings.get("fixed_input_size") else None
    return Network(frozen(network, device), side, settings["mean"], settings["std"])


def frozen(network: nn.Module, device: torch.device) -> nn.Module:
    return network.eval().requires_grad_(False).to(device)


def hooked(network: nn.Module, taps: Sequence[nn.Module]) -> Run:
    """What the modules `taps` of a network give on the way."""

    def run(pictures: Tensor) -> list[Tensor]:
        kept: list[Tensor] = []
        hooks = [tap.register_forward_hook(lambda *call: kept.append(call[2])) for tap in taps]
        try:
            network(pictures)
        finally:
            for hook in hooks:
                hook.remove()
        return kept

    return run
