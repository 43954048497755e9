"""Vision transformers (Dosovitskiy et al. 2021) of DINO and CLIP, as torchvision's: one network under other names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from framework.errors import UserError

# All of them have heads of this width.
HEAD = 64
# Patches of a side; more are a waste on pictures of drawings.
MOST_PATCHES = 16
CLIP_MEAN, CLIP_DEVIATION = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LAYER = r"encoder.layers.encoder_layer_\1."
# Names of DINO's (and timm's) tensors, and of CLIP's, and torchvision's.
DINO = {
    r"^cls_token$": "class_token",
    r"^pos_embed$": "encoder.pos_embedding",
    r"^patch_embed\.proj\.": "conv_proj.",
    r"^norm\.": "encoder.ln.",
    r"^blocks\.(\d+)\.norm(\d)\.": LAYER + r"ln_\2.",
    r"^blocks\.(\d+)\.attn\.qkv\.": LAYER + "self_attention.in_proj_",
    r"^blocks\.(\d+)\.attn\.proj\.": LAYER + "self_attention.out_proj.",
    r"^blocks\.(\d+)\.mlp\.fc1\.": LAYER + "mlp.0.",
    r"^blocks\.(\d+)\.mlp\.fc2\.": LAYER + "mlp.3.",
}
CLIP = {
    r"^class_embedding$": "class_token",
    r"^positional_embedding$": "encoder.pos_embedding",
    r"^conv1\.": "conv_proj.",
    # Torchvision has a dropout where CLIP normalises.
    r"^ln_pre\.": "encoder.dropout.",
    r"^ln_post\.": "encoder.ln.",
    r"^transformer\.resblocks\.(\d+)\.ln_(\d)\.": LAYER + r"ln_\2.",
    r"^transformer\.resblocks\.(\d+)\.attn\.": LAYER + "self_attention.",
    r"^transformer\.resblocks\.(\d+)\.mlp\.c_fc\.": LAYER + "mlp.0.",
    r"^transformer\.resblocks\.(\d+)\.mlp\.c_proj\.": LAYER + "mlp.3.",
}
# What comes after the last features, or plays no part in them.
UNUSED = re.compile(
    r"(head|heads|fc_norm|mask_token|proj$|proj_dino|last_layer|mlp\.|input_resolution)"
)
# DINOv2 scales what a block adds: a factor of its last weights.
SCALES = {"ls1": "self_attention.out_proj", "ls2": "mlp.3"}


@dataclass(frozen=True)
class Transformer:
    """Torchvision's network, and the mean and deviation of the pixels that it was trained with."""

    network: Any
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), with which OpenAI trained CLIP."""

    def forward(self, value: Tensor) -> Tensor:
        return value * torch.sigmoid(1.702 * value)


def build(state: Mapping[str, Tensor], path: Path, quick_gelu: bool | None) -> Transformer | None:
    """The transformer that tensors are of; None: they are of none.

    Raises:
        UserError: it has parts that these have not, or a CLIP's file does not say which GELU it has.
    """
    clip = "class_embedding" in state
    if clip:
        names = CLIP
        quick = asked(state, quick_gelu, path)
    elif "cls_token" in state and "patch_embed.proj.weight" in state:
        names, quick = DINO, False
    elif "class_token" in state and "conv_proj.weight" in state:
        names, quick = {}, False
    else:
        return None
    found = renamed(state, names, path)
    if "encoder.pos_embedding" not in found or "conv_proj.weight" not in found:
        raise UserError(f"{path}: a vision transformer without embeddings of patches and places")
    network = empty(found, clip, path)
    try:
        network.load_state_dict(found, assign=True)
    except Exception as error:
        reason = " ".join(str(error).split()).partition(": ")[2]
        raise UserError(f"{path}: no vision transformer that is known ({reason[:160]})") from None
    if quick:
        for layer in network.encoder.layers:
            layer.mlp[1] = QuickGELU()
    pixels = (CLIP_MEAN, CLIP_DEVIATION) if clip else (MEAN, DEVIATION)
    return Transformer(network, *pixels)


def asked(state: Mapping[str, Tensor], quick_gelu: bool | None, path: Path) -> bool:
    """Whether a CLIP's activation is QuickGELU: OpenAI's own files have a number that others leave out."""
    if quick_gelu is None and "input_resolution" not in state:
        raise UserError(
            f"{path}: a CLIP's; task.losses.perceptual.quick_gelu=true if OpenAI trained it, false for open_clip's own"
        )
    return quick_gelu is not False


def renamed(state: Mapping[str, Tensor], names: Mapping[str, str], path: Path) -> dict[str, Tensor]:
    """The tensors under torchvision's names.

    Raises:
        UserError: one of them has no such name.
    """
    found: dict[str, Tensor] = {}
    scales: dict[str, Tensor] = {}
    for key, value in state.items():
        added = re.match(r"blocks\.(\d+)\.(ls[12])\.gamma$", key)
        name = next(
            (re.sub(old, new, key) for old, new in names.items() if re.match(old, key)), key
        )
        if added:
            scales[LAYER.replace(r"\1", added[1]) + SCALES[added[2]]] = value
        elif name != key or not names:
            if not UNUSED.match(name):
                found[name] = value
        elif not UNUSED.match(key):
            raise UserError(f"{path}: a vision transformer with '{key}', which is not known here")
    for name in scales.keys() & {key.removesuffix(".weight") for key in found}:
        scale = scales[name]
        found[f"{name}.weight"] = found[f"{name}.weight"] * scale[:, None]
        found[f"{name}.bias"] = found[f"{name}.bias"] * scale
    width = found["class_token"].numel()
    found["class_token"] = found["class_token"].reshape(1, 1, width)
    found.setdefault("conv_proj.bias", torch.zeros(width))
    return found


def empty(found: dict[str, Tensor], clip: bool, path: Path) -> Any:
    """Torchvision's network of the tensors' shapes, without weights; large position embeddings are made smaller."""
    places = found["encoder.pos_embedding"]
    width, patch = places.shape[-1], found["conv_proj.weight"].shape[-1]
    places = places.reshape(1, -1, width)
    side = math.isqrt(places.shape[1] - 1)
    if side**2 != places.shape[1] - 1 or width % HEAD:
        raise UserError(
            f"{path}: a vision transformer of {places.shape[1] - 1} patches and width {width}; expected a square "
            f"number, and a multiple of {HEAD}"
        )
    found["encoder.pos_embedding"] = places
    if side > MOST_PATCHES:
        grid = places[:, 1:].transpose(1, 2).reshape(1, width, side, side)
        small = functional.interpolate(grid, (MOST_PATCHES,) * 2, mode="bicubic", antialias=True)
        found["encoder.pos_embedding"] = torch.cat(
            [places[:, :1], small.flatten(2).transpose(1, 2)], 1
        )
        side = MOST_PATCHES
    norm = partial(nn.LayerNorm, eps=1e-5 if clip else 1e-6)
    with torch.device("meta"):
        network = import_module("torchvision.models").VisionTransformer(
            image_size=side * patch,
            patch_size=patch,
            num_layers=len([key for key in found if key.endswith("self_attention.in_proj_weight")]),
            num_heads=width // HEAD,
            hidden_dim=width,
            mlp_dim=len(found.get("encoder.layers.encoder_layer_0.mlp.0.bias", ())),
            norm_layer=norm,
        )
        network.heads = nn.Identity()
        if clip:
            network.encoder.dropout = norm(width)
    return network
