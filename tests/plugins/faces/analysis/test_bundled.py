"""The detector that comes with the plugin: it has seen no person, and finds people."""

import json
from pathlib import Path

import matplotlib
import pytest
import torch
from PIL import Image

from framework import UserError
from plugins.detection.boxes import pairwise_iou
from plugins.faces.analysis import bundled
from plugins.faces.analysis.bundled import WEIGHTS, BundledDetector
from plugins.faces.analysis.detectors import make_detector
from plugins.faces.analysis.pipeline import FacePipeline
from tests.runs import Diffobj

PORTRAIT = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
# From hairline to chin, at half of the photograph's size.
FACE = torch.tensor([[87.0, 60.0, 178.0, 170.0]])


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph of a person that an installed package ships, at half its size."""
    file = tmp_path_factory.mktemp("photographs") / "portrait.png"
    whole = Image.open(PORTRAIT)
    whole.resize((whole.width // 2, whole.height // 2)).save(file)
    return file


def test_a_person_is_found_by_a_detector_that_has_seen_none(portrait):
    faces = FacePipeline.of(detector="bundled")
    found = faces.find(portrait)
    iou = pairwise_iou(found.boxes, FACE)[:, 0]
    assert float(iou.max()) > 0.4
    assert found.embeddings is None
    assert (found.scores.diff() <= 0).all()
    best = int(iou.argmax())
    left, top, right, bottom = found.boxes[best].tolist()
    x, y = found.landmarks[best].unbind(1)
    assert bool(((x > left) & (x < right) & (y > top) & (y < bottom)).all())
    # The eyes lie above the nose, and the nose above the mouth.
    assert float(y[:2].max()) < float(y[2]) < float(y[3:].min())
    with pytest.raises(UserError, match="people are not distinguished"):
        faces.verify(portrait, portrait)


def test_the_command_prints_what_python_finds_and_marks_it(portrait, tmp_path, diffobj: Diffobj):
    shown = tmp_path / "marked"
    said = diffobj("find_faces", f"input={portrait}", f"pictures={shown}")
    assert said.status == 0, said.err
    record = json.loads(said.out)
    found = FacePipeline.of(detector="bundled").find(portrait)
    assert record["file"] == "portrait.png"
    assert torch.allclose(torch.tensor([f["boxes"] for f in record["faces"]]), found.boxes)
    assert set(record["faces"][0]) == {"boxes", "scores", "landmarks", "qualities"}
    # Small photographs are marked enlarged.
    assert Image.open(shown / "portrait.png").size == (512, 600)
    sure = json.loads(diffobj("find_faces", f"input={portrait}", "score=0.99").out)
    assert sure["faces"] == []


def test_an_empty_wall_has_no_face_and_tensors_all_the_same():
    found = FacePipeline.of(detector="bundled").find(Image.new("RGB", (90, 60), "grey"))
    assert (tuple(found.boxes.shape), tuple(found.landmarks.shape)) == ((0, 4), (0, 5, 2))


def test_the_weights_are_small_and_hold_no_code():
    assert WEIGHTS.stat().st_size < 2_000_000
    assert (WEIGHTS.parent / "MODEL_CARD.md").is_file()
    # Read with allow_pickle=False.
    assert len(make_detector("bundled").fingerprint()) == 16


def test_an_installation_without_the_weights_is_refused_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path / "detector.npz")
    bundled.bundled_model.cache_clear()
    with pytest.raises(UserError, match=r"detector\.npz is missing") as refused:
        BundledDetector()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which photographs"),
        (["input=no/such.png"], "no/such.png: there is no such file"),
        (["input=a.png", "detector=retina"], "expected bundled, mtcnn"),
        (["input=a.png", "score=2"], "score = '2': expected a fraction"),
        (["input=a.png", "scores=1"], "did you mean 'score'"),
    ],
)
def test_what_cannot_be_looked_for_is_refused_in_one_line(arguments, message, diffobj: Diffobj):
    refused = diffobj("find_faces", *arguments)
    assert refused.status == 2
    assert message in refused.err
    assert refused.err.count("\n") == 1
