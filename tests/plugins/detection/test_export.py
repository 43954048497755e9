"""Export: the file is compared with the model; what rounding decides is free, everything else is refused."""

import json
import math

import pytest
import torch
from torch import nn

from framework import UserError
from plugins.detection.export import TOLERANCE, Deployed, difference, write_onnx
from plugins.detection.models.anchor_free import AnchorFree, Maps, nano, tiny
from tests.plugins.detection.test_task import QUICK, make

MAX_DETECTIONS = 30
MIN_LOGIT = math.log(0.001 / 0.999)  # the logit of the score below which detections do not count


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
        ours = Deployed(model, MAX_DETECTIONS)
        return difference(model, lambda image: change(*ours(image)), noise(4), MAX_DETECTIONS)


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
    """A model with the given logits in the first cells of one row, and boxes of 20 pixels."""

    def __init__(self, logits: dict[int, float]) -> None:
        super().__init__(1, (16, 32, 48), (0, 0, 0), 1, 16, 16)
        self.logits = torch.full((1, 1, 1, 8), -20.0)
        for cell, logit in logits.items():
            self.logits[..., cell] = logit

    def forward(self, images: torch.Tensor) -> list[Maps]:
        return [Maps(self.logits, torch.full((1, 4, 1, 8), 10.0), 8)]


@pytest.mark.parametrize(
    ("logits", "max_detections"),
    [({2: 1.0, 3: 1.0}, 8), ({2: 1.0, 6: 1.0}, 1), ({2: MIN_LOGIT}, 8)],
    ids=["the higher of two neighbours", "the last of max_detections", "the least score"],
)
def test_only_a_choice_that_rounding_decides_is_free(logits, max_detections):
    """The choice goes one way here and the other way there."""
    images = torch.zeros(1, 3, 8, 64)
    for change, expected in ((1e-6, 0.0), (1e-2, math.inf)):
        models = [ByHand(logits | {2: logits[2] + sign * change}) for sign in (1, -1)]
        one, other = (Deployed(model, max_detections) for model in models)
        boxes = [found[0][found[1] > 0.001] for found in (one(images), other(images))]
        assert not torch.equal(*boxes)
        assert difference(models[0], other, images, max_detections) == expected
        assert difference(models[1], one, images, max_detections) == expected


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
    report = json.loads(done.out.splitlines()[-1])
    assert report["images compared"] == 50
    assert report["largest difference in pixels"] < 0.01
    assert file.stat().st_size > 1_000_000


@pytest.mark.slow
def test_a_file_with_a_weight_changed_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    file, model, images = tmp_path / "model.onnx", detector(), noise(4)
    with torch.no_grad():
        assert (
            difference(
                model, write_onnx(model, images[:2], file, MAX_DETECTIONS), images, MAX_DETECTIONS
            )
            < 1e-3
        )
    changed = onnx.load(file)
    (bias,) = (w for w in changed.graph.initializer if w.name == "model.distance.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 1e-3, bias.name))
    session = onnxruntime.InferenceSession(changed.SerializeToString())

    def again(image):
        return [torch.from_numpy(part) for part in session.run(None, {"images": image.numpy()})]

    with torch.no_grad():
        assert TOLERANCE < difference(model, again, images, MAX_DETECTIONS) < 0.1


def test_a_task_exports_by_the_suffix_and_stays_as_it_is(tmp_path):
    """The file's detections are the task's, in an image of the task's size."""
    task = make()
    nn.init.normal_(task.model.score.weight, std=0.3)  # type: ignore[union-attr,arg-type]
    task.model.train()
    path = task.export(tmp_path / "new" / "model.pt2", images=2)
    assert path == tmp_path / "new" / "model.pt2"
    assert task.model.training
    assert task.parameters["score.bias"] is task.model.score.bias  # type: ignore[union-attr]
    image = task.splits.test.sample(0).image
    boxes, scores, labels = torch.export.load(path).module()(image.unsqueeze(0).float())
    found = task.detect(image.permute(1, 2, 0).numpy(), threshold=0.0)
    count = len(found)
    assert count > 10
    torch.testing.assert_close(boxes[0, :count], found.boxes, atol=1e-3, rtol=0)
    torch.testing.assert_close(scores[0, :count], found.scores)
    assert torch.equal(labels[0, :count], found.labels)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("model.pt", {}, r"'.*model\.pt': expected a name that ends in \.onnx or \.pt2"),
        ("model.onnx", {"heigth": 64}, r"export\.heigth.*height"),
        ("model.onnx", {"height": 0}, r"export\.height = 0"),
        ("model.onnx", {"format": "onx"}, r"export\.format = 'onx'"),
    ],
)
def test_a_tasks_exports_mistakes_are_refused_in_one_line(name, options, expected, tmp_path):
    with pytest.raises(UserError, match=expected) as error:
        make().export(tmp_path / name, **options)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_other_families_are_not_exported(tmp_path):
    with pytest.raises(UserError, match="only detectors of the anchor-free family"):
        make(model="set_nano").export(tmp_path / "model.onnx")
