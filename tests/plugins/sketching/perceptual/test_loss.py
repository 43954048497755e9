"""Features are those of the network whose weights a file holds, under any of their names; others are refused."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from framework.errors import UserError
from plugins.sketching.perceptual.files import read_weights
from plugins.sketching.perceptual.loss import perceptual
from plugins.sketching.perceptual.networks import network_of
from plugins.sketching.perceptual.transformers import CLIP, CLIP_DEVIATION, CLIP_MEAN, DINO
from plugins.sketching.weighted_loss import checked_losses

models = pytest.importorskip("torchvision.models")
CPU = torch.device("cpu")


def picture(channels: int = 3, side: int = 32) -> Tensor:
    return torch.rand(channels, side, side, generator=torch.Generator().manual_seed(0))


def transformer() -> Any:
    """A small one with heads as wide as all of theirs, its weights random."""
    torch.manual_seed(0)
    network = models.VisionTransformer(32, 8, 3, 1, 64, 96).eval()
    for value in network.parameters():
        torch.nn.init.normal_(value, std=0.1)
    return network


def called(state: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    """A transformer's tensors under the names of another program."""
    found = {}
    for old, new in names.items():
        # The name from the pattern, and the pattern from the name.
        name = re.sub(r"\(\\d\+\)|\(\\d\)", "#", old.strip("^$")).replace("\\.", ".")
        pattern = re.escape(new).replace("\\\\1", r"(\d+)").replace("\\\\2", r"(\d)")
        for key, value in state.items():
            if not (match := re.match(pattern, key)):
                continue
            here = name
            for group in match.groups():
                here = here.replace("#", group, 1)
            found[here + key[match.end() :]] = value
    return found


def tokens(network: Any, seen: Tensor) -> list[Tensor]:
    """What each layer gives, by torchvision's own forward pass."""
    value = network._process_input(seen)
    value = torch.cat([network.class_token.expand(len(value), -1, -1), value], 1)
    value = network.encoder.dropout(value + network.encoder.pos_embedding)
    found = []
    for layer in network.encoder.layers:
        value = layer(value)
        found.append(functional.normalize(value, dim=2).transpose(1, 2)[..., None])
    return found


def test_dinos_names_are_the_same_network(tmp_path):
    network = transformer()
    state = called(network.state_dict(), DINO) | {"mask_token": torch.zeros(1, 64)}
    assert "blocks.2.attn.qkv.weight" in state
    # As DINO's checkpoints hold it, in half precision; and DINOv2's scales of what a block adds.
    half = {f"backbone.{key}": value.half() for key, value in state.items()}
    torch.save({"student": {}, "teacher": half}, tmp_path / "dino.pth")
    scale = {"blocks.1.ls1.gamma": torch.full((64,), 0.5), "blocks.1.ls2.gamma": torch.ones(64)}
    torch.save(state | scale, tmp_path / "dinov2.pth")
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    seen = ((picture() - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / deviation)[None]
    exact = tokens(network, seen)
    for ours, theirs in zip(
        network_of(tmp_path / "dino.pth", None, None, CPU).features(picture()), exact, strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)
    with torch.no_grad():
        network.encoder.layers[1].self_attention.out_proj.weight *= 0.5
        network.encoder.layers[1].self_attention.out_proj.bias *= 0.5
    exact = tokens(network, seen)
    for ours, theirs in zip(
        network_of(tmp_path / "dinov2.pth", None, None, CPU).features(picture()), exact, strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_clips_names_are_the_same_network_that_normalises_its_tokens_first(tmp_path):
    network = transformer()
    norm = torch.nn.LayerNorm(64)
    torch.nn.init.normal_(norm.weight)
    for module in network.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-5
    network.encoder.dropout = norm
    with torch.no_grad():
        network.conv_proj.bias.zero_()
    state = called(network.state_dict(), CLIP)
    del state["conv1.bias"]
    state["class_embedding"] = state["class_embedding"][0, 0]
    state["positional_embedding"] = state["positional_embedding"][0]
    state["proj"] = torch.zeros(64, 32)
    whole = {f"visual.{key}": value for key, value in state.items()}
    # The text's transformer has the same names without the prefix.
    text = {"transformer.resblocks.0.ln_1.weight": torch.zeros(9), "logit_scale": torch.zeros(())}
    torch.save(whole | text, tmp_path / "clip.pth")
    mean, deviation = (torch.tensor(part)[:, None, None] for part in (CLIP_MEAN, CLIP_DEVIATION))
    seen = ((picture() - mean) / deviation)[None]
    with pytest.raises(UserError, match=r"quick_gelu=true if OpenAI trained it"):
        network_of(tmp_path / "clip.pth", None, None, CPU)
    for quick in (False, True):
        found = network_of(tmp_path / "clip.pth", None, quick, CPU).features(picture())
        if quick:
            for layer in network.encoder.layers:
                layer.mlp[1].forward = lambda value: value * torch.sigmoid(1.702 * value)
        for ours, theirs in zip(found, tokens(network, seen), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    torch.save(whole | text | {"input_resolution": torch.tensor(32)}, tmp_path / "openai.pth")
    by_itself = network_of(tmp_path / "openai.pth", None, None, CPU).features(picture())
    assert all(torch.equal(a, b) for a, b in zip(by_itself, found, strict=True))


def test_large_position_embeddings_become_those_of_16_patches(tmp_path):
    network = models.VisionTransformer(160, 8, 1, 1, 64, 96)
    torch.save(called(network.state_dict(), DINO), tmp_path / "large.pth")
    found = network_of(tmp_path / "large.pth", None, None, CPU)
    assert found.side == 128
    assert found.features(picture())[0].shape == (1, 64, 1 + 16 * 16, 1)


def test_vgg_is_compared_before_its_first_three_poolings(tmp_path):
    with torch.device("meta"):
        empty = models.vgg11().features.state_dict()
    draw = torch.Generator().manual_seed(0)
    state = {k: 0.05 * torch.randn(v.shape, generator=draw) for k, v in empty.items()}
    torch.save({f"features.{key}": value for key, value in state.items()}, tmp_path / "vgg11.pth")
    loss = perceptual(picture(), weights=str(tmp_path / "vgg11.pth"))
    assert float(loss(picture())) == 0
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    parts = []
    for one in (1 - picture(), picture()):
        value, kept = ((one - mean) / deviation)[None], []
        for number, pool in ((0, True), (3, True), (6, False), (8, False)):
            weight, bias = state[f"{number}.weight"], state[f"{number}.bias"]
            value = functional.relu(functional.conv2d(value, weight, bias, padding=1))
            if number != 6:
                kept.append(functional.normalize(value, dim=1))
            value = functional.max_pool2d(value, 2) if pool else value
        parts.append(kept)
    exact = sum(float(((a - b) ** 2).mean()) for a, b in zip(*parts, strict=True))
    given = (1 - picture()).requires_grad_()
    found = loss(given)
    assert float(found.detach()) == pytest.approx(exact, rel=1e-4)
    found.backward()
    assert given.grad is not None
    assert float(given.grad.abs().sum()) > 0


def test_pictures_in_grey_and_in_batches_are_compared(tmp_path):
    torch.save(transformer().state_dict(), tmp_path / "vit.pth")
    chosen = {"perceptual": {"weights": str(tmp_path / "vit.pth"), "weight": 2.0}}
    (weight, build) = checked_losses(chosen)["perceptual"]
    loss = build(picture(1, 40))
    found = loss(torch.rand(4, 1, 40, 40))
    assert weight == 2.0
    assert found.shape == (4,)
    assert bool((found > 0).all())


def test_a_network_of_timm_is_asked_for_by_name(tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", pretrained=False, num_classes=7)
    torch.save(network.state_dict(), tmp_path / "resnet.pth")
    loss = perceptual(picture(), weights=str(tmp_path / "resnet.pth"), model="resnet10t")
    assert float(loss(picture())) == 0
    assert float(loss(1 - picture())) > 0
    with pytest.raises(UserError, match="no weights of timm's resnet18"):
        perceptual(picture(), weights=str(tmp_path / "resnet.pth"), model="resnet18")
    with pytest.raises(UserError, match="timm has no network of this name"):
        perceptual(picture(), weights=str(tmp_path / "resnet.pth"), model="resnot18")


def bad(path: Path) -> dict[str, Any]:
    """By name, what is saved to a file, and what is said of it."""
    state = called(transformer().state_dict(), DINO)
    wide = {k: v[:, :32] if k == "blocks.0.mlp.fc1.weight" else v for k, v in state.items()}
    return {
        "numbers": ([1, 2], "holds no plain parameters; expected tensors by name"),
        "resnet": ({"conv1.weight": torch.zeros(8, 3, 7, 7)}, "its first tensor is 'conv1.weight'"),
        "vgg": (
            {"features.0.weight": torch.zeros(8, 3, 3, 3)},
            "no weights of torchvision's vgg11",
        ),
        "registers": (
            state | {"register_tokens": torch.zeros(1, 4, 64)},
            "a vision transformer with 'register_tokens', which is not known here",
        ),
        "shape": (wide, "no vision transformer that is known (size mismatch"),
        "layer": (
            {k: v for k, v in state.items() if k != "blocks.1.norm1.bias"},
            "no vision transformer that is known (Missing key",
        ),
        "places": (
            {k: v for k, v in state.items() if k != "pos_embed"},
            "a vision transformer without embeddings of patches and places",
        ),
        "patches": (
            state | {"pos_embed": torch.zeros(1, 12, 64)},
            "a vision transformer of 11 patches and width 64",
        ),
    }


@pytest.mark.parametrize("name", bad(Path()))
def test_weights_of_another_network_are_refused_in_one_line(name, tmp_path):
    given, said = bad(tmp_path)[name]
    torch.save(given, tmp_path / "weights.pth")
    refused(tmp_path / "weights.pth", said)


def test_files_without_weights_are_refused_in_one_line(tmp_path):
    refused(tmp_path / "absent.pth", "no such file")
    (tmp_path / "text.pth").write_bytes(b"nothing")
    refused(tmp_path / "text.pth", "holds no plain parameters")
    with zipfile.ZipFile(tmp_path / "clip.pt", "w") as archive:
        archive.writestr("clip/code/model.py", "")
    refused(tmp_path / "clip.pt", "is a TorchScript program; save its weights with torch.save(")
    assert list(Path(tmp_path).glob("*.py")) == []


def refused(path: Path, said: str) -> None:
    with pytest.raises(UserError) as mistake:
        perceptual(picture(), weights=str(path))
    assert said in str(mistake.value)
    assert "\n" not in str(mistake.value)


def test_prefixes_and_wraps_are_seen_through(tmp_path):
    torch.save({"model": {"module.backbone.a": torch.ones(2).half()}}, tmp_path / "a.pth")
    assert read_weights(tmp_path / "a.pth")["a"].dtype == torch.float32
