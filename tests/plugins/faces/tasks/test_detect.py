"""Faces from Python: `detect` and `embed` take an image in any form, and say what the commands say."""

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from framework import UserError
from plugins.faces.analysis.detected import DetectedFaces
from plugins.faces.data.photographs import read_photograph
from plugins.faces.synthetic.scenes import synthetic_scenes
from plugins.faces.tasks.face_detection import FaceDetection
from plugins.faces.tasks.faces import Faces, SceneData
from plugins.faces.tasks.people_data import Data
from plugins.faces.tasks.recognition import Recognition

SCENE = synthetic_scenes(0, 0, 1, 192, 0, 8, 6).images[0]


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph of 250 x 200 pixels."""
    path = tmp_path_factory.mktemp("photographs") / "a.png"
    Image.fromarray(SCENE.permute(1, 2, 0).numpy()).resize((250, 200)).save(path)
    return path


def forms(path: Path) -> dict[str, Any]:
    """One picture in every form."""
    picture = read_photograph(path)
    pixels = numpy.array(picture)
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    return {"path": path, "word": str(path), "pillow": picture, "array": pixels, "tensor": tensor}


@pytest.fixture(scope="module")
def finder() -> Faces:
    """A network without training whose scores are high enough for detections."""
    torch.manual_seed(0)
    task = Faces(data=SceneData(side=160, scenes=1, people=2), embedding_size=8)
    with torch.no_grad():
        bias = task.model.finder.score.bias
        assert bias is not None
        bias.fill_(0.5)
    return task


def test_every_form_of_a_picture_has_the_faces_that_the_commands_use(finder, photograph):
    finder.model.eval()
    with torch.no_grad():
        expected = finder.faces_in(read_photograph(photograph))
    assert len(expected["boxes"]) > 1
    for form, image in forms(photograph).items():
        faces = finder.detect(image)
        assert len(faces) == len(expected["boxes"])
        for name, value in expected.items():
            assert torch.equal(getattr(faces, name), value), (form, name)


def test_detected_faces_are_in_the_pictures_own_pixels(finder, photograph):
    faces = finder.detect(photograph)
    count = len(faces)
    assert faces.boxes.shape == (count, 4)
    assert faces.landmarks.shape == (count, 5, 2)
    assert faces.embeddings is not None
    assert torch.allclose(faces.embeddings.norm(dim=1), torch.ones(count), atol=1e-5)
    assert (faces.scores.diff() <= 0).all()
    assert 160 < faces.boxes[:, 2].max() <= 250.01
    assert faces.boxes[:, 3].max() <= 200.01


def test_a_list_of_pictures_of_any_sizes_gives_a_list(finder, photograph):
    several = finder.detect([photograph, SCENE])
    assert [type(one) for one in several] == [DetectedFaces, DetectedFaces]
    assert torch.equal(several[0].boxes, finder.detect(photograph).boxes)
    assert torch.equal(several[1].boxes, finder.detect(SCENE).boxes)
    assert finder.detect([]) == []


def test_detection_leaves_the_model_in_the_mode_it_was_in_and_makes_no_gradients(finder):
    finder.model.train()
    before = {name: value.clone() for name, value in finder.model.state_dict().items()}
    assert not finder.detect(SCENE).boxes.requires_grad
    assert finder.model.training
    for name, value in finder.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_picture_without_faces_has_empty_tensors(finder):
    task = Faces(data=SceneData(side=96, scenes=1, people=2), embedding_size=8)
    faces = task.detect(torch.zeros(3, 40, 30, dtype=torch.uint8))
    assert (len(faces), tuple(faces.boxes.shape)) == (0, (0, 4))
    assert faces.embeddings is not None
    assert tuple(faces.embeddings.shape) == (0, 8)


def test_a_task_that_does_not_train_embeddings_gives_none(tmp_path, photograph):
    task = FaceDetection(annotations=str(tmp_path / "list.txt"), images=str(tmp_path), side=96)
    assert task.detect(photograph).embeddings is None


def test_every_form_of_a_crop_has_the_embedding_that_the_commands_use(photograph):
    torch.manual_seed(0)
    task = Recognition(data=Data(people=2, pictures=2, side=32))
    task.model.eval()
    with torch.no_grad():
        (expected,) = task.faces_in(read_photograph(photograph))["embeddings"]
    for form, image in forms(photograph).items():
        assert torch.equal(task.embed(image), expected), form
    assert abs(expected.norm() - 1) < 1e-5
    several = task.embed([photograph, SCENE])
    assert several.shape == (2, 128)
    assert torch.allclose(several[0], expected, atol=1e-6)
    assert torch.allclose(several[1], task.embed(SCENE), atol=1e-6)
    assert task.embed([]).shape == (0, 128)


def test_a_grey_picture_is_read_as_its_file_is(tmp_path, finder):
    grey = Image.fromarray(SCENE.float().mean(0).to(torch.uint8).numpy())
    grey.save(tmp_path / "grey.png")
    assert torch.equal(finder.detect(grey).boxes, finder.detect(tmp_path / "grey.png").boxes)


def test_what_takes_one_picture_refuses_several_in_one_line(photograph):
    task: Any = Recognition(data=Data(people=2, pictures=2, side=32))
    for several in ([photograph], (), torch.zeros(2, 3, 9, 9, dtype=torch.uint8)):
        with pytest.raises(
            UserError, match=r"image: (list|tuple|Tensor) of \d; expected one image$"
        ):
            task.verify(several, photograph)
    with pytest.raises(UserError, match="image: list of 1; expected one image"):
        task.embed([[photograph]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda task, folder: task.calibrate(folder, far="0.1"), "far = '0.1': expected a frac"),
        (lambda task, folder: task.calibrate(folder, far=None), "far = None: expected a fraction"),
        (lambda task, folder: task.calibrate(None), "people = None: expected a path"),
        (lambda task, folder: task.cluster(folder, threshold=float("nan")), "threshold = nan: exp"),
        (lambda task, folder: task.cluster(folder, threshold=3), "threshold = 3: expected a cosin"),
        (lambda task, folder: task.cluster(3), "input = 3: expected a path"),
        (lambda task, folder: task.protocol("lfw", None), "input = None: expected a path"),
        (lambda task, folder: task.protocol(None, folder), "protocol = None"),
        (lambda task, folder: task.with_detector(None), "detector = None: expected bundled"),
        (lambda task, folder: task.find(folder), "a folder, not a picture"),
    ],
)
def test_an_argument_of_another_kind_is_refused_in_one_line(call, message, tmp_path):
    task = Recognition(data=Data(people=2, pictures=2, side=32))
    with pytest.raises(UserError, match=message) as refused:
        call(task, tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (numpy.zeros((4, 5, 2), numpy.uint8), r"an array of shape \[4, 5, 2\]"),
        (2 * numpy.ones((4, 5, 3)), "floats from 2 to 2; expected floats from 0 to 1"),
        (torch.zeros(4, 5, 3), r"a tensor of shape \[4, 5, 3\]"),
        (None, "NoneType; expected a path"),
        ("no/such.png", "no/such.png: there is no such file"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(finder, image, message):
    with pytest.raises(UserError, match=message) as refused:
        finder.detect(image)
    assert "\n" not in str(refused.value)
