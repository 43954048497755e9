"""Detection trained on one's own photographs and their list of faces, and used without them."""

import json
import shutil
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from framework.commands.run_arguments import load_run
from plugins.faces.data.lists import AnnotatedPhotograph
from plugins.faces.synthetic.scenes import synthetic_scenes
from plugins.faces.tasks.annotated_scenes import scenes_of
from plugins.faces.tasks.face_detection import FaceDetection
from tests.plugins.faces.tasks.small_runs import FINDING, run
from tests.runs import Diffobj, records, result


@pytest.mark.parametrize("form", [pytest.param("wider", marks=pytest.mark.slow), "retinaface"])
def test_faces_in_ones_own_photographs_are_learned_from_a_list(form, tmp_path):
    scenes = synthetic_scenes(0, 0, 6, 96, 0, 8, 3)
    lines = []
    for k in range(6):
        file = f"{k}.png"
        Image.fromarray(scenes.images[k].permute(1, 2, 0).numpy()).save(tmp_path / file)
        mine = scenes.image_index == k
        rows = [
            " ".join(f"{n:.1f}" for n in (*box[:2], *(box[2:] - box[:2])))
            for box in scenes.boxes[mine]
        ]
        if form == "wider":
            lines += [file, str(len(rows)), *(rows or ["0 0 0 0"])]
        else:
            marks = [" ".join(f"{x:.1f} {y:.1f} 0.0" for x, y in m) for m in scenes.landmarks[mine]]
            lines += [f"# {file}", *(f"{a} {b}" for a, b in zip(rows, marks, strict=True))]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n")
    arguments = [f"task.annotations={tmp_path / 'list.txt'}", f"task.images={tmp_path}"]
    folder = run(tmp_path / "run", *FINDING, *arguments)
    assert result(folder)["metrics"]["AP50"] >= 0
    logged = [r for r in records(folder) if "train/objective" in r]
    assert all("train/identity" not in r for r in logged)
    assert any(r["train/landmarks"] > 0 for r in logged) == (form == "retinaface")


def listed_photographs(folder: Path, count: int) -> list[str]:
    """Photographs with a face each and their list, as options of a run."""
    folder.mkdir(exist_ok=True)
    random, lines = numpy.random.default_rng(count), []
    for k in range(count):
        pixels = random.integers(0, 255, (100, 100, 3)).astype(numpy.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
        lines += [f"{k}.png", "1", "10 10 60 60"]
    (folder / "list.txt").write_text("\n".join(lines) + "\n")
    return [f"task.annotations={folder / 'list.txt'}", f"task.images={folder}"]


def test_a_run_of_finding_is_used_without_its_list_and_judged_on_another(
    tmp_path, diffobj: Diffobj
):
    own = listed_photographs(tmp_path / "own", 6)
    folder = run(tmp_path / "run", *FINDING, *own)
    again = diffobj("evaluate", f"run={folder}")
    assert json.loads(again.out)["metrics"] == result(folder)["metrics"]
    shutil.move(tmp_path / "own", tmp_path / "moved")
    picture = tmp_path / "moved" / "0.png"
    answer = diffobj("predict", f"run={folder}", f"input={picture}")
    assert answer.status == 0, answer.err
    refused = diffobj("verify", f"run={folder}", str(picture), str(picture))
    assert refused.status == 2
    assert "task face_detection detects faces and does not distinguish people" in refused.err
    other = listed_photographs(tmp_path / "other", 7)
    with (tmp_path / "other" / "list.txt").open("a") as listing:
        for k in range(6):
            copy = Image.open(tmp_path / "moved" / f"{k}.png")
            copy.save(tmp_path / "other" / f"copy{k}.jpg", quality=80)
            listing.write(f"copy{k}.jpg\n1\n10 10 60 60\n")
    task = load_run("evaluate", [f"run={folder}", *other]).run.task
    assert isinstance(task, FaceDetection)
    # Four of the copies are of photographs that were trained on.
    assert len(task.evaluated(0, "test")) == 7 + 2
    seen = [task.has_seen(Image.open(tmp_path / "other" / f"copy{k}.jpg")) for k in range(6)]
    assert sum(seen) == 4
    assert not task.has_seen(Image.open(tmp_path / "other" / "0.png"))


def test_one_photograph_to_learn_from_and_to_judge_by_is_refused(tmp_path, diffobj: Diffobj):
    own = listed_photographs(tmp_path / "own", 6)
    for k in range(1, 6):
        # Copies with other bytes and another contrast.
        picture = Image.open(tmp_path / "own" / "0.png").point(
            lambda grey, k=k: grey * (1 - k / 20)
        )
        picture.resize((90, 90)).save(tmp_path / "own" / f"{k}.png")
    outcome = diffobj("train", *FINDING, *own, f"hydra.run.dir={tmp_path / 'run'}")
    assert outcome.status == 2
    assert "2 photographs to test on are copies of others to train on, the first '" in outcome.err


def test_many_photographs_choose_the_checkpoint_by_others_than_those_it_is_judged_by(tmp_path):
    listed_photographs(tmp_path, 60)
    task = FaceDetection(annotations=str(tmp_path / "list.txt"), images=str(tmp_path), side=96)
    assert (len(task.training), len(task.evaluated(0, "test"))) == (49, 6)
    assert len(task.evaluated(0, "validation")) == 5


def test_photographs_are_shrunk_with_their_boxes(tmp_path):
    pixels = numpy.full((200, 200, 3), 30, numpy.uint8)
    pixels[40:120, 50:90] = 220
    Image.fromarray(pixels).save(tmp_path / "a.png")
    box = torch.tensor([[50.0, 40, 90, 120], [100, 100, 150, 150], [0, 0, 5, 5]])
    unknown = torch.full((3, 5, 2), torch.nan)
    listed = [
        AnnotatedPhotograph("a.png", box, unknown, torch.tensor([False, True, False])),
        AnnotatedPhotograph("b.png", box[:0], unknown[:0], torch.zeros(0, dtype=torch.bool)),
    ]
    scenes = scenes_of(listed, tmp_path, 96)
    # The last one is 2.4 pixels high here.
    assert scenes.ignored.tolist() == [False, True, True]
    assert torch.allclose(scenes.boxes[0], torch.tensor([24.0, 19.2, 43.2, 57.6]))
    bright = scenes.images[0, 0].float() - 30
    # The square's middle, from how bright each row and column is.
    place = torch.arange(96) + 0.5
    across, down = ((bright.sum(axis) * place).sum() / bright.sum() for axis in (0, 1))
    left, top, right, bottom = scenes.boxes[0].tolist()
    assert abs(across - (left + right) / 2) < 0.1
    assert abs(down - (top + bottom) / 2) < 0.1
    assert scenes.people.tolist() == [-1, -1, -1]
    assert (scenes.images[1] == 127).all()
