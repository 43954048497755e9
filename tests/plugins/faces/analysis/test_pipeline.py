"""Detectors and embedders of other origins take part in everything: runs, networks' files, an installed cascade."""

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from framework import UserError
from plugins.faces.analysis.cutting import Places, cut_faces
from plugins.faces.analysis.detectors import make_detector
from plugins.faces.analysis.pipeline import FacePipeline
from plugins.faces.gallery import Gallery
from plugins.faces.synthetic.crops import rendered_faces, synthetic_crops
from plugins.faces.tasks.people_data import Data
from plugins.faces.tasks.recognition import Recognition
from tests.runs import Diffobj


class BrightSquares(nn.Module):
    """Finds the bright parts of a dark photograph: the box around all pixels that are not black."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        lit = images[0].sum(0) > 0
        rows, columns = lit.any(1).nonzero()[:, 0], lit.any(0).nonzero()[:, 0]
        if len(rows) == 0:
            return torch.zeros(0, 4), torch.zeros(0)
        ends = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        return torch.stack(ends)[None].float(), torch.ones(1)


class Coarse(nn.Module):
    """Embeds a face as its pixels at low resolution."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images, 6).flatten(1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    torch.jit.script(BrightSquares()).save(str(folder / "detector.pt"))
    torch.jit.script(Coarse()).save(str(folder / "embedder.pt"))
    statement = {"kind": "embedder", "side": 24, "framing": "crop"}
    (folder / "embedder.pt.json").write_text(json.dumps(statement))
    return folder


def photograph(person: int, picture: int = 0, size: tuple[int, int] = (300, 200)) -> Image.Image:
    """A face somewhere in a black photograph."""
    crop = synthetic_crops(0, person, 1, 4, 64).images[picture].clamp(min=1)
    whole = Image.new("RGB", size)
    whole.paste(Image.fromarray(crop.permute(1, 2, 0).numpy()), (150, 70))
    return whole


@pytest.mark.parametrize("kind", ["array", "mode L", "path"])
def test_networks_from_files_find_embed_and_verify(files, kind, tmp_path):
    faces = FacePipeline.of(detector=files / "detector.pt", embedder=files / "embedder.pt")
    one: Any = photograph(0)
    if kind == "path":
        one.save(tmp_path / "a.png")
        one = tmp_path / "a.png"
    one = numpy.array(one) if kind == "array" else one.convert("L") if kind == "mode L" else one
    found = faces.find(one)
    assert found.boxes.tolist() == [[150, 70, 214, 134]]
    assert found.embeddings is not None
    assert found.embeddings.shape == (1, faces.embedding_size) == (1, 108)
    assert found.landmarks.isnan().all()
    assert faces.verify(one, one).cosine == pytest.approx(1, abs=1e-5)
    assert faces.verify(one, one).same_person is None
    assert len(faces.find(Image.new("RGB", (40, 30)))) == 0
    with pytest.raises(UserError, match="no face was detected"):
        faces.embed(Image.new("RGB", (40, 30)))


def test_a_run_with_a_detector_embeds_what_is_cut_from_the_photograph(files):
    torch.manual_seed(0)
    task = Recognition(data=Data(people=2, pictures=2, side=48))
    faces = task.with_detector(files / "detector.pt")
    crop = cut_faces(photograph(1), make_detector(files / "detector.pt").places(photograph(1)), 48)
    with task.inference():
        expected = task.model.embed(crop)
    assert torch.equal(faces.embed([photograph(1)]), expected)
    assert faces.fingerprint() != task.fingerprint()
    assert faces.synthetic


def test_a_pipeline_is_calibrated_and_has_a_gallery_by_every_command(
    files, tmp_path, diffobj: Diffobj
):
    for person in range(12):
        folder = tmp_path / "people" / f"p{person}"
        folder.mkdir(parents=True)
        for picture in range(3):
            photograph(person, picture).save(folder / f"{picture}.png")
    both = (f"detector={files / 'detector.pt'}", f"embedder={files / 'embedder.pt'}")
    one, other = (str(tmp_path / "people" / p / "0.png") for p in ("p0", "p1"))
    done = diffobj("calibrate", *both, f"input={tmp_path / 'people'}", "far=0.3")
    assert done.status == 0, done.err
    kept = Path(done.out.splitlines()[-1])
    assert kept.parent == files.resolve()
    gallery = f"gallery={tmp_path / 'g.json'}"
    assert diffobj("enrol", *both, gallery, "consent=form", "Ann", one).status == 0
    same = diffobj("verify", *both, one, one)
    assert json.loads(same.out)["same_person"] is True
    assert json.loads(same.out)["faces"][0]["box"] == [150, 70, 214, 134]
    answer = json.loads(diffobj("identify", *both, gallery, one).out)
    assert (answer["person"], answer["box"]) == ("Ann", [150, 70, 214, 134])
    Image.new("RGB", (40, 30)).save(tmp_path / "empty.png")
    empty = diffobj("identify", *both, gallery, str(tmp_path / "empty.png"))
    assert json.loads(empty.out) == {"person": "no face"}
    alone = diffobj("verify", both[1], one, other)
    assert "embedder=FILE needs detector=" in alone.err
    # Another detector's crops need another gallery.
    wide = tmp_path / "wide.pt"
    shutil.copy(files / "detector.pt", wide)
    wide.with_name("wide.pt.json").write_text('{"longest": 200}')
    faces = FacePipeline.of(detector=wide, embedder=files / "embedder.pt")
    with pytest.raises(UserError, match="of another model"):
        Gallery(tmp_path / "g.json", faces).identify(one)


def test_a_detector_sees_a_large_photograph_smaller_and_answers_in_its_own_pixels(files):
    (files / "detector.pt.json").write_text('{"longest": 150}')
    try:
        (box,) = make_detector(files / "detector.pt").places(photograph(0)).boxes.tolist()
    finally:
        (files / "detector.pt.json").unlink()
    assert box == pytest.approx([150, 70, 214, 134], abs=2.1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no/such.onnx", "no/such.onnx: there is no such file; expected a network"),
        ("retina", "detector = 'retina': expected bundled, mtcnn, the folder of a run"),
        ("torn.pt", "torn.pt: "),
        ("embedder.pt", "kind: Input should be 'detector'"),
        ("coarse.pt", r"returned \[1, 108\]; expected boxes \[K, 4\]"),
    ],
)
def test_what_is_no_detector_is_refused_in_one_line(files, source, message):
    (files / "torn.pt").write_bytes(b"torn")
    shutil.copy(files / "embedder.pt", files / "coarse.pt")
    name = files / source if (files / source).exists() else source
    with pytest.raises(UserError, match=message) as refused:
        make_detector(name).places(photograph(0))
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"side": 3}', "side: Input should be greater"),
        ('{"kind": "detector"}', "kind: "),
        ('{"colour": 3}', "colour: Extra inputs"),
        ("{", "file: Invalid JSON"),
    ],
)
def test_a_statement_that_cannot_be_is_refused_in_one_line(files, tmp_path, text, message):
    path = tmp_path / "embedder.pt"
    path.write_bytes((files / "embedder.pt").read_bytes())
    path.with_name("embedder.pt.json").write_text(text)
    with pytest.raises(UserError, match=message) as refused:
        FacePipeline.of(detector=files / "detector.pt", embedder=path)
    assert str(refused.value).isprintable()


def correlation(first: Tensor, second: Tensor) -> float:
    return float(
        torch.corrcoef(torch.stack([first.float().flatten(), second.float().flatten()]))[0, 1]
    )


def test_a_face_is_framed_by_its_box_as_the_crops_of_recognition_are():
    rendered, likeness = rendered_faces(3, list(range(8)), [0] * 8, 48), []
    for number in range(8):
        crop = (rendered.colours[number] * 255).to(torch.uint8)
        picture = Image.fromarray(crop.permute(1, 2, 0).numpy())
        whole = Image.new("RGB", (400, 300), "grey")
        whole.paste(picture.resize((144, 144), Image.Resampling.BICUBIC), (200, 100))
        box = rendered.boxes[number].reshape(2, 2) * 3 + torch.tensor([200.0, 100.0])
        places = Places(box.reshape(1, 4), torch.ones(1), torch.full((1, 5, 2), torch.nan))
        likeness.append(correlation(cut_faces(whole, places, 48)[0], crop))
    # Poses differ from face to face, and with them a box's place in the crop.
    assert sum(likeness) / 8 > 0.85


@pytest.mark.parametrize("framing", ["crop", "arcface"])
def test_a_face_is_framed_by_its_landmarks_however_it_is_turned_moved_and_scaled(framing):
    rendered = rendered_faces(3, [0], [0], 96)
    picture = Image.fromarray((rendered.colours[0] * 255).byte().permute(1, 2, 0).numpy())
    landmarks = rendered.landmarks
    box = torch.tensor([[0.0, 0, 96, 96]])
    (plain,) = cut_faces(picture, Places(box, torch.ones(1), landmarks), 48, framing)
    # A quarter to the left: (x, y) becomes (y, 96 - x); then twice as large.
    turned = picture.transpose(Image.Transpose.ROTATE_90).resize(
        (192, 192), Image.Resampling.BICUBIC
    )
    there = 2 * torch.stack([landmarks[..., 1], 96 - landmarks[..., 0]], -1)
    (other,) = cut_faces(turned, Places(2 * box, torch.ones(1), there), 48, framing)
    assert correlation(plain, other) > 0.99


class Cascade:
    """What facenet-pytorch offers."""

    def __init__(self, *, keep_all: bool, device: str, min_face_size: int) -> None:
        assert keep_all
        assert device == "cpu"
        assert min_face_size == 20

    def state_dict(self) -> dict[str, Tensor]:
        return {"weight": torch.ones(2)}

    def detect(self, photograph: Image.Image, landmarks: bool) -> tuple[Any, Any, Any]:
        if not any(high for _, high in photograph.getextrema()):  # type: ignore[misc]
            return None, numpy.array([None]), None
        boxes = numpy.array([[1.0, 2, 31, 42], [150, 70, 214, 134]])
        return boxes, numpy.array([0.8, 0.99]), numpy.zeros((2, 5, 2))


def test_an_installed_cascade_is_a_detector(monkeypatch):
    library: Any = ModuleType("facenet_pytorch")
    library.MTCNN = Cascade
    monkeypatch.setitem(sys.modules, "facenet_pytorch", library)
    detector = make_detector("mtcnn")
    places = detector.places(photograph(0))
    assert places.scores.tolist() == pytest.approx([0.99, 0.8])
    assert places.boxes[0].tolist() == [150, 70, 214, 134]
    for empty in (Image.new("RGB", (60, 60)), Image.new("RGB", (9, 300))):
        assert detector.places(empty).boxes.shape == (0, 4)
    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)
    with pytest.raises(UserError, match="needs facenet-pytorch"):
        make_detector("mtcnn")
