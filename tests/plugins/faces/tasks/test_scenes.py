"""Faces in whole images: training from every feature source, what counts in an evaluation, and predictions."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from plugins.faces.evaluation.model_card import SYNTHETIC_NOTICE
from plugins.faces.evaluation.scene_evaluator import SceneEvaluator
from plugins.faces.evaluation.scene_metrics import EvaluatedScenes, detection_metrics, enough
from plugins.faces.models.face_finder import Located
from plugins.faces.synthetic.scenes import Scenes, synthetic_scenes
from plugins.faces.tasks.faces import Faces, SceneData
from tests.plugins.faces.tasks.small_runs import SCENES, run
from tests.runs import Diffobj, records, result


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the default feature source."""
    return run(tmp_path_factory.mktemp("scenes") / "run", *SCENES)


@pytest.mark.parametrize(
    "feature_source",
    [
        "joint",
        pytest.param("centre", marks=pytest.mark.slow),
        pytest.param("aligned_features", marks=pytest.mark.slow),
        pytest.param("two_stage", marks=pytest.mark.slow),
    ],
)
def test_scenes_are_learned_from_from_every_feature_source(feature_source, joint, tmp_path):
    folder = joint
    if feature_source != "joint":
        folder = run(tmp_path / "run", *SCENES, f"task.feature_source={feature_source}")
    metrics = result(folder)["metrics"]
    assert {"AP50", "AP", "recall", "precision", "eer"} <= set(metrics)
    logged = [r for r in records(folder) if "train/objective" in r]
    assert all(0.3 < r["train/identity_over_chance"] < 3 for r in logged)
    assert (folder / "media" / "scenes.png").exists()


@pytest.mark.slow
def test_an_eer_of_hardly_any_faces_is_chance(monkeypatch):
    data = SceneData(side=96, scenes=2, people=2, test_scenes=40, test_people=4)
    task = Faces(data=data, embedding_size=8)
    task.model.eval()
    scenes = task.evaluated(0, "test")

    def finding(faces: torch.Tensor) -> dict[str, float]:
        """Metrics of a network that detects these faces only, and distinguishes everyone."""
        where = Located(scenes.boxes[faces], scenes.landmarks[faces], scenes.image_index[faces])
        embeddings = torch.eye(8)[scenes.people[faces]]
        nothing = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0)}
        evaluated = EvaluatedScenes(scenes, [nothing] * len(scenes), faces, embeddings, where)
        monkeypatch.setattr(SceneEvaluator, "evaluated", lambda self, scenes: evaluated)
        return task.evaluate(0)

    everything = torch.arange(len(scenes.people))
    assert len(everything) > 60
    half = -(-len(everything) // 2)
    assert finding(everything[:half])["eer"] == 0
    assert finding(everything[: half - 1])["eer"] == 0.5
    assert not enough(scenes.people[:3], len(everything))
    # Six people, 15 pairs each.
    few = torch.arange(6).repeat_interleave(6)
    assert not enough(few, len(few))
    assert enough(torch.cat([few, few]), 72)


def test_predictions_for_photographs_are_json_and_a_picture_in_the_photographs_own_pixels(
    joint, tmp_path, diffobj: Diffobj
):
    folder = joint
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    scenes = synthetic_scenes(0, 0, 1, 192, 0, 8, 6)
    Image.fromarray(scenes.images[0].permute(1, 2, 0).numpy()).resize((400, 400)).save(
        photographs / "a.jpg"
    )
    Image.new("L", (50, 300)).save(photographs / "narrow.png")
    (photographs / "torn.png").write_bytes(b"torn")
    # Another one than a.jpg.
    Image.new("RGB", (80, 80)).save(photographs / "a.png")
    (photographs / "more").mkdir()
    Image.new("RGB", (60, 50)).save(photographs / "more" / "a.png")
    outcome = diffobj("predict", f"run={folder}", f"input={photographs}")
    assert outcome.status == 0, outcome.err
    assert SYNTHETIC_NOTICE in outcome.err
    assert "torn.png: no readable picture (no image of a known kind)" in outcome.err
    for name, size in (("a.jpg", (400, 400)), ("narrow.png", (50, 300)), ("more/a.png", (60, 50))):
        answer = json.loads((folder / "predictions" / f"{name}.json").read_text())
        assert answer["trained_on_synthetic_faces"] is True
        assert answer["file"] == name
        for face in answer["faces"]:
            assert 0 <= face["boxes"][0] <= face["boxes"][2] <= size[0] + 1e-3
            assert 0 <= face["boxes"][1] <= face["boxes"][3] <= size[1] + 1e-3
            assert abs(sum(n * n for n in face["embeddings"]) - 1) < 1e-4
            assert 0 <= face["qualities"] <= 1
        assert (folder / "predictions" / f"{name}.png").exists()
    alone = diffobj("predict", f"run={folder}", f"input={photographs / 'torn.png'}")
    assert alone.status == 2
    nothing = diffobj("predict", f"run={folder}")
    assert nothing.status == 2
    assert "which picture?" in nothing.err


def test_who_finds_an_ignored_face_is_neither_right_nor_wrong():
    boxes = torch.tensor([[10.0, 10, 60, 60], [150, 150, 210, 210]])
    scenes = Scenes(
        torch.zeros(1, 3, 320, 320, dtype=torch.uint8),
        boxes,
        torch.zeros(2, 5, 2),
        torch.tensor([-1, -1]),
        torch.tensor([0, 0]),
        torch.tensor([False, True]),
    )

    def numbers(found: list[list[float]]) -> dict[str, float]:
        boxes = torch.tensor(found)
        one = {"boxes": boxes, "scores": torch.linspace(0.9, 0.8, len(boxes))}
        one |= {
            "embeddings": torch.zeros(len(boxes), 4),
            "landmarks": torch.zeros(len(boxes), 5, 2),
        }
        network: Any = lambda images, score_threshold: [one]  # noqa: E731
        evaluator = SceneEvaluator(network, torch.device("cpu"))
        return detection_metrics(evaluator.evaluated(scenes))

    right, ignored, wrong = boxes[0].tolist(), [152.0, 152, 208, 208], [220.0, 10, 260, 60]
    assert numbers([ignored, right]) == {"AP50": 1, "AP": 1, "recall": 1, "precision": 1}
    half = numbers([wrong, right])
    assert (half["recall"], half["precision"]) == (1, 0.5)
    assert half["AP50"] < 0.6
