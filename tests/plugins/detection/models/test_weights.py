"""Models start from a user's file: what fits by name and shape is taken, what does not is said."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v3_large

from framework import UserError
from plugins.detection.models.anchor_free import nano
from plugins.detection.models.initial import with_shared_rows
from plugins.detection.models.weights import start_from_file, take
from plugins.detection.models.zoo import faster_rcnn_mobile


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


@pytest.mark.parametrize("before", ["", "module.", "_orig_mod."])
@pytest.mark.parametrize("inside", [None, "state_dict", "model"])
def test_a_checkpoints_parameters_are_found_in_it(tmp_path: Path, before: str, inside: Any) -> None:
    source, target = small(), small()
    nn.init.normal_(source[0].weight)  # type: ignore[arg-type]
    state: dict[str, Any] = {f"{before}{n}": v for n, v in source.state_dict().items()}
    torch.save(state if inside is None else {inside: state, "epoch": 3}, tmp_path / "a.pt")
    taken = start_from_file(target, tmp_path / "a.pt", "task.init_from")
    assert (len(taken.names), taken.unused, taken.missing, taken.misfits) == (8, [], [], [])
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)


def test_what_does_not_fit_is_said(tmp_path: Path, capsys: Any) -> None:
    source, target = small(), small()
    before = target[2].weight.detach().clone()  # type: ignore[operator]
    state = source.state_dict() | {"2.weight": torch.zeros(7, 4, 1, 1), "extra": torch.zeros(1)}
    del state["0.bias"]
    torch.save(state, tmp_path / "a.pt")
    start_from_file(target, tmp_path / "a.pt", "task.init_from")
    said = capsys.readouterr().err.strip()
    assert said == (
        f"task.init_from: {tmp_path}/a.pt: 6 of the model's 8 tensors taken; 1 not in the file (0.bias); "
        "1 of another shape (2.weight: [7, 4, 1, 1], expected [2, 4, 1, 1]); 1 of the file not used (extra)"
    )
    assert torch.equal(target[2].weight, before)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "there is no such file"),
        (b"nonsense", "holds no plain parameters"),
        ({"a": "text"}, "holds no plain parameters"),
        ({"other": torch.zeros(3)}, "nothing in .* fits the model: it holds other"),
    ],
)
def test_files_without_parameters_are_refused(tmp_path: Path, content: Any, why: str) -> None:
    path = tmp_path / "a.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=why) as mistake:
        start_from_file(small(), path, "task.init_from")
    assert "\n" not in str(mistake.value)


def test_a_detector_of_torchvisions_takes_a_classifier_as_its_backbone(
    tmp_path: Path, capsys: Any
) -> None:
    classifier = mobilenet_v3_large(weights=None)
    torch.save(classifier.state_dict(), tmp_path / "a.pth")
    model = faster_rcnn_mobile(2, weights=str(tmp_path / "a.pth"))
    body = model.network.backbone.body  # type: ignore[union-attr]
    assert torch.equal(body["0"][0].weight, classifier.features[0][0].weight)  # type: ignore[index,union-attr]
    said = capsys.readouterr().err
    assert "tensors taken" in said
    assert "classifier.0.weight" in said


def test_our_own_model_takes_what_fits_of_another_size(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = nano(5)
    torch.manual_seed(2)
    target = nano(3)
    taken = take(target, source.state_dict())
    assert [name.partition(":")[0] for name in taken.misfits] == ["score.weight", "score.bias"]
    assert torch.equal(target.distance.weight, source.distance.weight)


def test_rows_of_labels_that_both_have_are_taken() -> None:
    given = torch.arange(4.0).view(4, 1) + 10
    own = torch.zeros(3, 1)
    # ant bee cat + "no object" there; bee owl + "no object" here.
    found = with_shared_rows(own, given, ["bee", "owl"], ["ant", "bee", "cat"])
    assert found.flatten().tolist() == [11, 0, 13]
    assert with_shared_rows(own, torch.zeros(9, 2), ["bee", "owl"], ["ant"]) is own
    assert with_shared_rows(own, None, ["bee", "owl"], ["ant"]) is own


def test_a_head_on_a_backbone_of_timms_learns_and_starts_from_a_file(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    from plugins.detection.models.timm_pyramid import timm as make
    from tests.plugins.detection.models.test_zoo import KNOWN

    backbone = timm.create_model("resnet10t", pretrained=False)
    torch.save(backbone.state_dict(), tmp_path / "a.pt")
    model = make(3, backbone="resnet10t", weights=str(tmp_path / "a.pt"))
    own: Any = model.pyramid
    assert torch.equal(own.network.conv1[0].weight, backbone.conv1[0].weight)
    losses = model.losses(KNOWN)
    sum(loss.sum() for loss in losses.values()).backward()  # type: ignore[union-attr]
    assert own.network.conv1[0].weight.grad.abs().sum() > 0
    assert len(model.eval().detect(KNOWN.images, 10)) == 2
    with pytest.raises(UserError, match=r"backbone = 'resnet999'"):
        make(3, backbone="resnet999")


def test_timm_is_named_where_it_is_missing(monkeypatch: Any) -> None:
    import sys

    from plugins.detection.models.timm_pyramid import timm as make

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"task\.model=timm needs the package timm"):
        make(3, backbone="resnet10t")
