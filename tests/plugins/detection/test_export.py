"""Export: the file is what `predict` uses, for every shape and family; what only rounding decides is free."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from torch import nn

import framework
from experiments.detection_export import Exported
from framework import UserError
from plugins.detection.deployed import DeployedPeaks, deployed
from plugins.detection.evaluation.metrics import precision
from plugins.detection.export import metadata
from plugins.detection.export_check import TOLERANCE, difference
from plugins.detection.export_formats import EXTRA_FILE, Sides, write_exported, write_onnx
from plugins.detection.models.aligned import aligned_nano
from plugins.detection.models.anchor_free import AnchorFree, Maps, nano, tiny
from plugins.detection.models.detector import Detector
from plugins.detection.models.set_prediction import set_nano
from plugins.detection.sample import Detections
from plugins.detection.task import Detection
from tests.plugins.detection.test_task import QUICK, make

MAX_DETECTIONS = 30
MIN_LOGIT = math.log(0.001 / 0.999)  # the logit of the score below which detections do not count
FAMILIES = [nano, tiny, aligned_nano, set_nano]
# Height and width of photographs: 1:1, 4:3, 16:9, 9:16, one smaller than the model's images, one of one row of cells.
SHAPES = [(96, 96), (96, 128), (72, 128), (128, 72), (20, 33), (40, 128)]


def detector(make: Callable[[int], Any] = tiny) -> Any:
    """A detector with random weights whose scores and boxes differ from place to place."""
    torch.manual_seed(0)
    return randomised(make(3))


def randomised(model: Any, spread: float = 0.3) -> Any:
    nn.init.normal_(model.score.weight, std=spread)
    if isinstance(model, AnchorFree):
        nn.init.normal_(model.distance.weight, std=0.1)
    else:
        nn.init.normal_(model.move[-1].weight, std=0.3)
    return model.eval()


def noise(count: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return [
        torch.randint(0, 256, (1, 3, *sides), generator=draw).float()
        for sides in [(64, 96), (96, 64), (32, 32), (128, 64)][:count]
    ]


def compared(model: Detector, change: Any = lambda *found: found) -> float:
    """The difference to a file that finds what the model finds, changed."""
    with torch.no_grad():
        ours = deployed(model, MAX_DETECTIONS)
        assert ours is not None
        return difference(model, lambda image: change(*ours(image)), noise(4), MAX_DETECTIONS)


@pytest.mark.parametrize("make", FAMILIES)
def test_a_model_agrees_with_itself(make: Any) -> None:
    assert compared(detector(make)) == 0


@pytest.mark.parametrize("make", FAMILIES)
@pytest.mark.parametrize("count", [5, 30, 200])
def test_what_is_exported_detects_what_the_model_detects(make: Any, count: int) -> None:
    """Suppression is inside, and an image with fewer cells than detections fills up with scores of 0."""
    model = detector(make)
    module = deployed(model, count)
    assert module is not None
    with torch.no_grad():
        for image in noise(4):
            boxes, scores, labels = (part[0] for part in module(image))
            (found,) = model.detect(image, count, 1e-6)
            real = scores > 1e-6
            assert int(real.sum()) == len(found)
            assert not real.float().diff().gt(0).any()
            torch.testing.assert_close(scores[real], found.scores)
            torch.testing.assert_close(boxes[real], found.boxes, atol=1e-3, rtol=0)
            assert torch.equal(labels[real], found.labels)


def test_a_box_that_suppression_removes_is_refused() -> None:
    """The best one twice, as neighbouring cells find an object."""

    def twice(*found: torch.Tensor) -> list[torch.Tensor]:
        return [torch.cat([part[:, :1], part], 1) for part in found]

    assert compared(detector(aligned_nano)) == 0
    assert compared(detector(aligned_nano), twice) == math.inf
    assert compared(detector(nano), twice) == 0


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
        assert (
            max(float(level.logits.sigmoid().max()) for image in noise(4) for level in model(image))
            < 1e-3
        )
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
        one, other = (DeployedPeaks(model, max_detections) for model in models)
        boxes = [found[0][found[1] > 0.001] for found in (one(images), other(images))]
        assert not torch.equal(*boxes)
        assert difference(models[0], other, [images], max_detections) == expected
        assert difference(models[1], one, [images], max_detections) == expected


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "torch_export"])
@pytest.mark.parametrize("how", ["nano", "tiny", "aligned_nano", "set_nano", "bfloat16"])
def test_an_exported_model_agrees_with_the_model(diffobj, tmp_path, form, how):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run, file = tmp_path / "run", tmp_path / "model"
    option = "trainer.precision=bfloat16" if how == "bfloat16" else f"task.model={how}"
    options = [*QUICK, "task.data.test=50", option, "trainer.steps=30"]
    assert diffobj("train", *options, f"hydra.run.dir={run}").status == 0
    done = diffobj("export", f"run={run}", f"format={form}", f"output={file}")
    assert done.status == 0, done.err
    report = json.loads(done.out.splitlines()[-1])
    assert report["images compared"] == 50
    assert report["largest difference in pixels"] < 0.01
    assert report["input"] == ["batch", 3, "height", "width"]


@pytest.mark.slow
def test_a_file_with_a_weight_changed_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    file, model, images = tmp_path / "model.onnx", detector(), noise(4)
    module = deployed(model, MAX_DETECTIONS)
    assert module is not None
    with torch.no_grad():
        again = write_onnx(module, file, Sides(model.size_divisor), {})
        assert difference(model, again, images, MAX_DETECTIONS) < 1e-3
    changed = onnx.load(file)
    (bias,) = (w for w in changed.graph.initializer if w.name == "model.distance.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 1e-3, bias.name))
    session = onnxruntime.InferenceSession(changed.SerializeToString())

    def tampered(image):
        return [torch.from_numpy(part) for part in session.run(None, {"images": image.numpy()})]

    with torch.no_grad():
        assert TOLERANCE < difference(model, tampered, images, MAX_DETECTIONS) < 0.1


@pytest.mark.slow
def test_a_set_models_file_has_its_embeddings_to_the_last_bit(tmp_path):
    """Scores that depend much on where a query is: a place's phase is thousands of turns."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    model: Any = set_nano(3).eval()
    nn.init.normal_(model.score.weight)
    for layer in model.layers:
        nn.init.normal_(layer.image.query.weight)
        nn.init.normal_(layer.image.key.weight)
    file = tmp_path / "model.onnx"
    module = deployed(model, MAX_DETECTIONS)
    assert module is not None
    with torch.no_grad():
        write_onnx(module, file, Sides(model.size_divisor), {})
        session = onnxruntime.InferenceSession(file)
        for image in noise(4):
            ours = module(image)[1].numpy()
            theirs = session.run(None, {"images": image.numpy()})[1]
            numpy.testing.assert_allclose(theirs, ours, rtol=2e-5)


@pytest.fixture(scope="module")
def task() -> Detection:
    task = make(display_threshold=0.02)
    randomised(task.model)
    nn.init.normal_(task.model.score.weight, std=3.0)  # type: ignore[union-attr,arg-type]
    return task


@pytest.mark.slow
def test_a_task_exports_by_the_suffix_and_stays_as_it_is(task, tmp_path):
    """The file's detections are the task's, in an image of the task's size; what it says of itself is in it."""
    task.model.train()
    path = task.export(tmp_path / "new" / "model.pt2", images=2)
    assert path == tmp_path / "new" / "model.pt2"
    assert task.model.training
    assert task.parameters["score.bias"] is task.model.score.bias
    image = task.splits.test.sample(0).image
    extra = {EXTRA_FILE: ""}
    program = torch.export.load(path, extra_files=extra)
    for shown in (image, image[:, :32]):
        boxes, scores, labels = program.module(check_guards=False)(shown.unsqueeze(0).float())
        found = task.detect(shown.permute(1, 2, 0).numpy(), threshold=0.0)
        count = len(found)
        assert count > 5
        torch.testing.assert_close(boxes[0, :count], found.boxes, atol=1e-3, rtol=0)
        torch.testing.assert_close(scores[0, :count], found.scores)
        assert torch.equal(labels[0, :count], found.labels)
    said = json.loads(extra[EXTRA_FILE])
    assert said["categories"] == task.categories
    assert (said["size"], said["size_divisor"], said["padding"]) == (64, 32, 114)
    assert said["thresholds"] == [0.02] * len(task.categories)
    assert said["version"] == framework.__version__


@pytest.mark.slow
def test_a_file_holds_no_photograph(task, tmp_path):
    """The example that torch.export keeps is empty, and nothing of a test image's bytes is in the file."""
    path = task.export(tmp_path / "model.pt2", images=2)
    (example,), _ = torch.export.load(path).example_inputs
    assert float(example.abs().max()) == 0
    data = path.read_bytes()
    for number in range(2):
        image = task.splits.test.sample(number).image
        for form in (image, image.float()):
            assert form[0, 10].contiguous().numpy().tobytes() not in data


class Session:
    """The interface of onnxruntime's session over the module that is exported."""

    def __init__(self, task: Detection) -> None:
        module = deployed(task.model, task.max_detections)
        assert module is not None
        self.module = module.eval()
        self.custom_metadata_map = {"diffobj": json.dumps(metadata(task))}

    def get_modelmeta(self) -> "Session":
        return self

    def run(self, names: None, inputs: dict[str, Any]) -> list[Any]:
        assert inputs["images"].dtype == numpy.float32
        with torch.no_grad():
            return [part.numpy() for part in self.module(torch.from_numpy(inputs["images"]))]


def runner() -> Callable[[Any, Any], tuple[Any, Any, list[str]]]:
    """The function of the README, without its last line, which opens a file."""
    text = (framework.plugin.ROOT / "plugins" / "detection" / "README.md").read_text()
    (code,) = [c for c in re.findall(r"```python\n(.*?)```", text, re.S) if "onnxruntime" in c]
    body = code.replace("import onnxruntime\n", "").rpartition("\nsession = ")[0]
    assert len([line for line in body.splitlines() if line.strip()]) <= 30
    names: dict[str, Any] = {}
    exec(body, names)
    found: Callable[[Any, Any], tuple[Any, Any, list[str]]] = names["detect"]
    return found


def photograph(height: int, width: int, number: int = 0) -> Any:
    random = numpy.random.default_rng(height * width + 10**6 * number)
    coarse = random.integers(0, 256, (6, 9, 3)).astype(numpy.uint8)
    return numpy.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_runner_of_the_readme_finds_what_predict_finds(task, shape):
    image = photograph(*shape)
    boxes, scores, names = runner()(Session(task), image)
    found = task.detect(image)
    assert len(found) > 5
    assert list(found.names) == names
    numpy.testing.assert_allclose(scores, found.scores.numpy(), atol=1e-4)
    numpy.testing.assert_allclose(boxes, found.boxes.numpy(), atol=1e-2)


def opened(path: Path) -> Any:
    """An exported file behind the interface of onnxruntime's session."""
    if path.suffix == ".pt2":
        return Exported(path)
    return pytest.importorskip("onnxruntime").InferenceSession(path)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
@pytest.mark.parametrize("model", ["nano", "tiny", "aligned_nano"])
def test_the_average_precision_of_the_file_is_that_of_predict(tmp_path, model, suffix):
    """End to end, in each shape: the README's runner over the file against `detect`, from photograph to number."""
    if suffix == "onnx":
        pytest.importorskip("onnxscript")
    task = make(model=model, display_threshold=0.0, score_threshold=0.0)
    # Scores that are farther apart than rounding: tied ones may change places, and the precision with them.
    randomised(task.model, spread=2.0)
    session = opened(task.export(tmp_path / f"model.{suffix}", images=8))
    sample = task.splits.test.sample(0)
    for height, width in SHAPES:
        targets, ours, theirs = [], [], []
        for number in range(20):
            image = photograph(height, width + number % 3, number)
            found = task.detect(image)
            # What it finds, moved a little, is the truth: a precision that is neither 0 nor 1.
            size = (image.shape[0], image.shape[1])
            moved = found.boxes[:6] * (1 + 0.02 * (number % 7))
            none = torch.zeros(len(moved))
            targets.append(
                type(sample)(
                    torch.zeros(3, *size),
                    moved,
                    found.labels[:6],
                    none.bool(),
                    none + 99,
                    number + 1,
                    size,
                )
            )
            ours.append(found)
            boxes, scores, names = runner()(session, image)
            labels = [task.categories.index(name) for name in names]
            theirs.append(
                Detections(torch.tensor(boxes).float(), torch.tensor(scores), torch.tensor(labels))
            )
        one, other = (precision(targets, part, task.categories).numbers for part in (ours, theirs))
        assert 0.1 < one["AP"] < 0.99
        assert abs(one["AP"] - other["AP"]) < 0.001


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


@pytest.mark.slow
def test_sides_may_be_fixed(tmp_path):
    model = detector(nano)
    module = deployed(model, MAX_DETECTIONS)
    assert module is not None
    again = write_exported(module, tmp_path / "a.pt2", Sides(32, 64, 96), {})
    with torch.no_grad():
        assert again(noise(1)[0])[0].shape == (1, MAX_DETECTIONS, 4)
        with pytest.raises(Exception, match=r"(?i)shape|dim|guard|constraint|expected"):
            again(noise(2)[1])


def test_torchvisions_detectors_are_not_exported(tmp_path):
    with pytest.raises(UserError, match="torchvision's detectors cannot be exported"):
        make(model="ssdlite").export(tmp_path / "model.onnx")
