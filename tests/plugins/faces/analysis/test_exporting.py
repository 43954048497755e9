"""Exported networks: they compute what the model does, take part in every command, and hold no photograph."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from framework import UserError
from plugins.faces.analysis.embedders import FileEmbedder
from plugins.faces.analysis.exporting import compare
from plugins.faces.analysis.pipeline import FacePipeline
from plugins.faces.models.recogniser import Network
from plugins.faces.models.whitened import COMPONENTS
from plugins.faces.synthetic.crops import synthetic_crops
from plugins.faces.synthetic.scenes import synthetic_scenes
from plugins.faces.tasks.faces import Faces, SceneData
from plugins.faces.tasks.people_data import Data
from plugins.faces.tasks.recognition import Recognition

CROPS = synthetic_crops(0, 0, 4, 3, 48)


@pytest.fixture(scope="module")
def recognition() -> Recognition:
    torch.manual_seed(0)
    network = Network(widths=(8, 16), blocks=0, embedding_size=16, whitened=("gradients",))
    task = Recognition(data=Data(people=2, pictures=2, side=48), network=network)
    assert task.model.whitened is not None
    task.model.whitened.fit(CROPS.images, CROPS.people)
    task.model.eval()
    return task


@pytest.fixture(scope="module")
def faces() -> Faces:
    torch.manual_seed(0)
    task = Faces(data=SceneData(side=96, scenes=1, people=2), embedding_size=8)
    torch.nn.init.normal_(task.model.finder.score.weight, std=0.3)
    assert task.model.finder.score.bias is not None
    torch.nn.init.zeros_(task.model.finder.score.bias)
    task.model.eval()
    return task


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_exported_files_find_and_embed_as_the_runs_they_come_from(
    recognition, faces, suffix, tmp_path
):
    if suffix == ".onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    with recognition.inference():
        embedder = recognition.export(tmp_path / f"embedder{suffix}")
    with faces.inference():
        detector = faces.export(tmp_path / f"detector{suffix}")
    pipeline = FacePipeline.of(detector=detector, embedder=embedder)
    assert pipeline.embedding_size == recognition.embedding_size == 16 + COMPONENTS
    scene = synthetic_scenes(0, 0, 1, 96, 0, 10, 4).images[0]
    photograph = Image.fromarray(scene.permute(1, 2, 0).numpy()).crop((0, 0, 96, 80))
    found = pipeline.find(photograph)
    with faces.inference():
        expected = faces.model.faces_at(photograph, 1.0, thorough=False)
    assert len(found) > 0
    # Suppression of doubles leaves some of them.
    edge = torch.tensor([96.0, 80, 96, 80])
    near = torch.cdist(torch.minimum(found.boxes.clamp(min=0), edge), expected["boxes"])
    near = near.min(1).values
    assert float(near.max()) < 0.1
    crop = CROPS.images[5].float()[None]
    with recognition.inference():
        own = recognition.model.embed(CROPS.images[5:6])
    assert torch.allclose(FileEmbedder(embedder).network(crop)[0], own, atol=1e-3)


def test_an_exported_embedder_holds_no_picture_and_no_signature(recognition, tmp_path):
    with recognition.inference():
        file = recognition.export(tmp_path / "embedder.pt2")
    content = file.read_bytes()
    assert b"embedder" in content or len(content) > 1000
    for picture in CROPS.images[:4]:
        for part in (picture[0, 20], picture[1, 30]):
            assert part.numpy().tobytes() not in content
    assert {p.name for p in tmp_path.iterdir()} == {"embedder.pt2", "embedder.pt2.json"}


def test_a_file_that_computes_something_else_is_deleted(tmp_path):
    file = tmp_path / "embedder.onnx"
    file.write_bytes(b"weights")
    with pytest.raises(UserError, match=r"embedder\.onnx: the file differs from the model by 0\.5"):
        compare(file, [torch.tensor([0.5])], [torch.tensor([1.0])], 1e-3)
    assert not file.exists()
    file.write_bytes(b"weights")
    with pytest.raises(UserError, match="differs from the model by nan"):
        compare(file, [torch.tensor([torch.nan])], [torch.tensor([1.0])], 1e-3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("embedder.bin", {}, r"expected a name that ends in \.onnx or \.pt2"),
        ("embedder.pt2", {"format": "onnx"}, "unknown key 'export.format'"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(
    recognition, name, options, message, tmp_path: Path
):
    with recognition.inference(), pytest.raises(UserError, match=message) as refused:
        recognition.export(tmp_path / name, **options)
    assert "\n" not in str(refused.value)
