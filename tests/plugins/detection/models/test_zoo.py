"""torchvision's detectors in this plugin's conventions: sizes, labels, boxes without an area, weights."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from framework import UserError
from plugins.detection.models import zoo
from plugins.detection.models.zoo import (
    TorchvisionDetector,
    faster_rcnn_mobile,
    fcos,
    retinanet,
    ssdlite,
)
from plugins.detection.sample import Batch

SMALL = [ssdlite, faster_rcnn_mobile]
LARGE = [pytest.param(make, marks=pytest.mark.slow) for make in (fcos, retinanet)]
ALL = [*SMALL, *LARGE]


class Models(dict[str, TorchvisionDetector]):
    """Each network when it is first asked for."""

    def __missing__(self, name: str) -> TorchvisionDetector:
        torch.manual_seed(0)
        self[name] = getattr(zoo, name)(3)
        return self[name]


@pytest.fixture(scope="module")
def models() -> Models:
    return Models()


def batch(boxes, labels, image_index, images=2, height=96, width=128):
    draw = torch.Generator().manual_seed(0)
    return Batch(
        torch.randint(0, 256, (images, 3, height, width), generator=draw, dtype=torch.uint8),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(image_index, dtype=torch.int64),
    )


KNOWN = batch([[10, 10, 60, 50], [40, 20, 100, 90], [5, 5, 70, 80]], [0, 2, 1], [0, 0, 1])


class Echo(nn.Module):
    """Notes what a network of torchvision's is given and finds just that."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[dict[str, torch.Tensor]] = []
        self.images: list[torch.Tensor] = []

    def forward(self, images, targets=None):
        self.images = images
        if targets is not None:
            self.targets = targets
            return {"loss": torch.zeros(())}
        return [{**target, "scores": torch.ones(len(target["labels"]))} for target in self.targets]


@pytest.mark.parametrize("make", ALL)
def test_boxes_and_labels_come_back_as_they_went_in(make, models):
    model, echo = copy.copy(models[make.__name__]), Echo()
    model._modules = {"network": echo}
    model.losses(KNOWN)
    assert echo.targets[0]["labels"].tolist() == [model.background, 2 + model.background]
    assert echo.images[0].max() <= 1
    for image, found in enumerate(model.detect(KNOWN.images)):
        boxes, labels = KNOWN.objects_of(image)
        assert torch.equal(found.boxes, boxes)
        assert torch.equal(found.labels, labels)


@pytest.mark.parametrize("make", ALL)
def test_where_the_background_counts_every_output_has_a_label(make, models):
    model = models[make.__name__].eval()
    assert model.background == (make in SMALL)
    for one in model.detect(KNOWN.images, max_detections=100, score_threshold=0.0):
        assert ((one.labels >= 0) & (one.labels < 3)).all()


@pytest.mark.parametrize("make", ALL)
def test_nothing_is_resized(make, models):
    network = models[make.__name__].network
    images = [torch.rand(3, 96, 128), torch.rand(3, 96, 128)]
    target = {"boxes": torch.tensor([[3.0, 4.0, 50.0, 60.0]]), "labels": torch.tensor([1])}
    for mode in (network.train(), network.eval()):
        seen, targets = mode.transform(images, [dict(target), dict(target)])
        assert seen.tensors.shape == (2, 3, 96, 128)
        mean, deviation = (
            torch.tensor(v).view(3, 1, 1)
            for v in (mode.transform.image_mean, mode.transform.image_std)
        )
        torch.testing.assert_close(seen.tensors[0], (images[0] - mean) / deviation)
        assert torch.equal(targets[0]["boxes"], target["boxes"])


@pytest.mark.parametrize(
    "make", [ssdlite, pytest.param(faster_rcnn_mobile, marks=pytest.mark.slow), *LARGE]
)
def test_its_losses_are_scalars_with_a_gradient_also_where_there_is_no_object(make, models):
    model = models[make.__name__].train()
    for known in (KNOWN, batch([], [], [])):
        model.zero_grad()
        losses = model.losses(known)
        assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
        torch.stack(list(losses.values())).sum().backward()
        learns = any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
        # SSD takes three negatives for each positive: of a batch without any it learns nothing.
        assert learns or (make is ssdlite and not len(known.boxes))


def test_boxes_without_an_area_never_reach_it(models):
    flat = batch([[10, 10, 60, 50], [20, 30, 20, 60], [9, 9, 9, 9]], [0, 1, 2], [0, 0, 1])
    model = models["ssdlite"].train()
    assert model.target(*flat.objects_of(0))["labels"].tolist() == [1]
    assert all(loss.isfinite() for loss in model.losses(flat).values())


@pytest.mark.parametrize("make", ALL)
def test_detections_come_best_first_up_to_the_limit_and_leave_the_mode_as_it_was(make, models):
    model = models[make.__name__].train()
    found = model.detect(KNOWN.images, max_detections=5, score_threshold=0.01)
    assert model.training
    assert model.network.training
    for one in found:
        assert len(one.scores) <= 5
        assert (one.scores.diff() <= 0).all()
        assert (one.scores >= 0.01).all()


def test_weights_of_other_classes_leave_the_last_layers_fresh(tmp_path):
    torch.manual_seed(1)
    state = ssdlite(90).network.state_dict()
    torch.save(state, tmp_path / "weights.pth")
    model = ssdlite(3, weights=str(tmp_path / "weights.pth"))
    own = model.network.state_dict()
    for name, value in own.items():
        if not name.endswith("num_batches_tracked"):
            fresh = name.startswith("head.classification_head")
            assert fresh or torch.equal(value, state[name]), name
    same = ssdlite(90, weights=str(tmp_path / "weights.pth")).network.state_dict()
    assert all(torch.equal(same[n], v) for n, v in state.items() if "batches" not in n)


def test_running_means_of_given_weights_do_not_move(tmp_path):
    torch.save(ssdlite(3).network.state_dict(), tmp_path / "weights.pth")
    model = ssdlite(3, weights=str(tmp_path / "weights.pth")).train()
    before = {n: b.clone() for n, b in model.named_buffers()}
    model.losses(KNOWN)
    assert all(torch.equal(b, before[n]) for n, b in model.named_buffers())
    assert all(p.requires_grad for p in model.parameters())


def test_published_weights_are_taken_from_torchs_folder_and_never_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    name = "ssdlite320_mobilenet_v3_large_coco-a79551df.pth"
    expected = f"'coco': no file {tmp_path / 'checkpoints' / name}; download https://"
    with pytest.raises(UserError, match=expected):
        ssdlite(3, weights="coco")
    (tmp_path / "checkpoints").mkdir()
    torch.save(ssdlite(90).network.state_dict(), tmp_path / "checkpoints" / name)
    assert ssdlite(3, weights="coco").classes == 3


def test_files_without_weights_are_refused_in_one_line(tmp_path: Path):
    missing, junk, other = (tmp_path / f"{name}.pth" for name in ("missing", "junk", "other"))
    junk.write_bytes(b"no weights")
    torch.save(nn.Linear(2, 3).state_dict(), other)
    for path, message in (
        (missing, f"no file {missing}"),
        (junk, "holds no plain parameters"),
        (other, "'weight' is|'backbone"),
    ):
        with pytest.raises(UserError, match=message) as error:
            ssdlite(3, weights=str(path))
        assert "\n" not in str(error.value)
    assert zoo.CACHED == "coco"
