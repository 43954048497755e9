"""Export's check: what rounding decides is free, everything else is refused."""

import json
import math

import pytest
import torch
from torch import nn

from plugins.detection.commands import export
from plugins.detection.commands.export import TOLERANCE, deployed, difference, write_onnx
from plugins.detection.models.anchor_free import AnchorFree, Maps, nano, tiny
from tests.plugins.detection.test_task import QUICK

MOST = 30
FLOOR = math.log(0.001 / 0.999)  # the logit of the score below which detections do not count


def detector(make=tiny) -> AnchorFree:
    """A detector with random weights whose scores and boxes differ from place to place."""
    torch.manual_seed(0)
    model: AnchorFree = make(3)
    nn.init.normal_(model.score.weight, std=0.3)
    nn.init.normal_(model.distance.weight, std=0.1)
    return model.eval()


def noise(count: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, 64, 96), generator=draw).float()


def compared(model: AnchorFree, change=lambda *found: found) -> float:
    """The difference to a file that finds what the model finds, changed."""
    with torch.no_grad():
        ours = deployed(model, MOST)
        return difference(model, lambda image: change(*ours(image)), noise(4), MOST)


@pytest.mark.parametrize("make", [nano, tiny])
def test_a_model_agrees_with_itself(make):
    assert compared(detector(make)) == 0


def test_a_shifted_box_is_measured():
    def shifted(boxes, scores, labels):
        return boxes + torch.tensor([0.0, 0.25, 0.0, 0.0]), scores, labels

    assert compared(detector(), shifted) == pytest.approx(0.25, abs=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        lambda boxes, scores, labels: (boxes, scores, (labels + 1) % 3),
        lambda boxes, scores, labels: (boxes, 0.999 * scores, labels),
        lambda boxes, scores, labels: (boxes * math.nan, scores, labels),
        lambda boxes, scores, labels: (boxes[:, 1:], scores[:, 1:], labels[:, 1:]),
        lambda boxes, scores, labels: (boxes[:, :0], scores[:, :0], labels[:, :0]),
    ],
    ids=["other labels", "lower scores", "no numbers", "the best is missing", "nothing is found"],
)
def test_what_only_one_of_them_finds_is_refused(change):
    assert compared(detector(), change) == math.inf


def test_a_model_that_is_sure_of_nothing_is_compared_all_the_same():
    """No score reaches the floor: the best of each image are compared."""
    model = detector()
    with torch.no_grad():
        assert model.score.bias is not None
        model.score.bias -= 12
        assert max(float(level.logits.sigmoid().max()) for level in model(noise(4))) < 1e-3
    assert compared(model) == 0
    down = torch.tensor([0.0, 0.25, 0.0, 0.0])
    assert compared(model, lambda boxes, *rest: (boxes + down, *rest)) == pytest.approx(
        0.25, abs=1e-4
    )
    assert (
        compared(model, lambda boxes, *rest: (boxes[:, :0], *(r[:, :0] for r in rest))) == math.inf
    )


class ByHand(AnchorFree):
    """A model that says the given logits in the first cells of one row, and boxes of 20 pixels."""

    def __init__(self, logits: dict[int, float]) -> None:
        super().__init__(1, (16, 32, 48), (0, 0, 0), 1, 16, 16)
        self.said = torch.full((1, 1, 1, 8), -20.0)
        for cell, logit in logits.items():
            self.said[..., cell] = logit

    def forward(self, images: torch.Tensor) -> list[Maps]:
        return [Maps(self.said, torch.full((1, 4, 1, 8), 10.0), 8)]


@pytest.mark.parametrize(
    ("logits", "most"),
    [({2: 1.0, 3: 1.0}, 8), ({2: 1.0, 6: 1.0}, 1), ({2: FLOOR}, 8)],
    ids=["the higher of two neighbours", "the last of so many", "the least score"],
)
def test_only_a_choice_that_rounding_decides_is_free(logits, most):
    """The choice goes one way here and the other way there."""
    images = torch.zeros(1, 3, 8, 64)
    for change, expected in ((1e-6, 0.0), (1e-2, math.inf)):
        models = [ByHand(logits | {2: logits[2] + sign * change}) for sign in (1, -1)]
        one, other = (deployed(model, most) for model in models)
        boxes = [found[0][found[1] > 0.001] for found in (one(images), other(images))]
        assert not torch.equal(*boxes)
        assert difference(models[0], other, images, most) == expected
        assert difference(models[1], one, images, most) == expected


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "torch_export"])
@pytest.mark.parametrize(
    "how",
    [
        *(f"task.model={name}" for name in ("nano", "tiny", "aligned_nano")),
        "trainer.precision=bfloat16",
    ],
)
def test_an_exported_model_agrees_with_the_model(diffobj, tmp_path, form, how):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run, file = tmp_path / "run", tmp_path / "model"
    options = [*QUICK, "task.data.test=50", how, "trainer.steps=30"]
    assert diffobj("train", *options, f"hydra.run.dir={run}").status == 0
    done = diffobj("export", f"run={run}", f"format={form}", f"output={file}")
    assert done.status == 0, done.err
    told = json.loads(done.out.splitlines()[-1])
    assert told["images compared"] == 50
    assert told["largest difference in pixels"] < 0.01
    assert file.stat().st_size > 1_000_000


@pytest.mark.slow
def test_a_file_with_a_weight_changed_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    file, model, images = tmp_path / "model.onnx", detector(), noise(4)
    with torch.no_grad():
        assert difference(model, write_onnx(model, images[:2], file, MOST), images, MOST) < 1e-3
    changed = onnx.load(file)
    (bias,) = (w for w in changed.graph.initializer if w.name == "model.distance.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 1e-3, bias.name))
    session = onnxruntime.InferenceSession(changed.SerializeToString())

    def again(image):
        return [torch.from_numpy(part) for part in session.run(None, {"images": image.numpy()})]

    with torch.no_grad():
        assert TOLERANCE < difference(model, again, images, MOST) < 0.1


def test_a_refused_file_does_not_stay(diffobj, tmp_path, monkeypatch):
    """The command, with a file whose boxes are a fiftieth of a pixel too low."""

    def tampered(model, example, path, most):
        path.write_bytes(b"weights")
        down = torch.tensor([0.0, 0.02, 0.0, 0.0])
        ours = deployed(model, most)
        return lambda images: (lambda boxes, *rest: (boxes + down, *rest))(*ours(images))

    monkeypatch.setattr(export, "write_exported", tampered)
    run, file = tmp_path / "run", tmp_path / "model.pt2"
    assert diffobj("train", *QUICK, "trainer.steps=1", f"hydra.run.dir={run}").status == 0
    done = diffobj("export", f"run={run}", "format=torch_export", f"output={file}")
    assert done.status == 2
    assert "a box is off by 0.02 pixels" in done.err
    assert not file.exists()


def test_an_exports_mistakes_are_told_in_one_line(diffobj, tmp_path):
    run = tmp_path / "run"
    assert diffobj("train", *QUICK, "trainer.steps=1", f"hydra.run.dir={run}").status == 0
    for told, expected in (("format=onx", "did you mean 'onnx'"), ("height=0", "height = '0'")):
        done = diffobj("export", f"run={run}", told)
        assert done.status == 2
        assert expected in done.err
        assert done.err.strip().count("\n") == 0
