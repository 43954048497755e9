"""The doctor's list: objects that a model sees and no label marks, and labels that it contradicts."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import framework
from framework import UserError
from plugins.detection.inspection.doctor import (
    SIDE,
    Judged,
    diagnose,
    doubts_about,
    innermost,
    parts_of,
    sheet,
    unwrapped,
)
from plugins.detection.sample import Detections, Sample
from tests.plugins.detection.test_limits import folder, options

A, B, C = [0.0, 0, 20, 20], [30.0, 30, 50, 50], [60.0, 0, 80, 20]


def judged(
    labelled: list[tuple[list[float], int]], found: list[tuple[list[float], int, float]]
) -> Judged:
    """An image of 40 x 40 pixels of an original of 80 x 80, whose boxes are given in the original's pixels."""
    boxes = torch.tensor([box for box, _ in labelled]).view(-1, 4) / 2
    labels = torch.tensor([label for _, label in labelled]).long()
    none = torch.zeros(len(labelled))
    sample = Sample(torch.zeros(3, 40, 40), boxes, labels, none.bool(), none, 1, (80, 80))
    detections = Detections(
        torch.tensor([box for box, *_ in found]).view(-1, 4),
        torch.tensor([score for *_, score in found]),
        torch.tensor([label for _, label, _ in found]).long(),
    )
    return Judged("a.png", sample, detections, False, One(), 0)


class One:
    """The original of 80 x 80 pixels is green; the resized image is black."""

    categories: ClassVar[list[str]] = ["ant", "bee"]

    def __len__(self) -> int:
        return 1

    def sample(self, index: int) -> Sample:
        none, green = torch.zeros(0), torch.zeros(3, 80, 80, dtype=torch.uint8)
        green[1] = 255
        return Sample(green, none.view(0, 4), none.long(), none.bool(), none, 1, (80, 80))


@pytest.mark.parametrize(
    ("labelled", "found", "expected"),
    [
        ([(A, 0)], [(A, 0, 0.9)], []),
        ([(A, 0)], [(A, 0, 0.9), (B, 1, 0.7)], [("missing", 0.7, B, "bee", "")]),
        ([(A, 0)], [(A, 1, 0.8)], [("class", 0.8, A, "bee", "ant")]),
        # It sees the labelled class there, too: less doubtful, and said once.
        ([(A, 0)], [(A, 1, 0.8), (A, 0, 0.5)], [("class", 0.4, A, "bee", "ant")]),
        ([(A, 0)], [([0.0, 0, 20, 40], 0, 0.8)], [("box", 0.2, [0.0, 0, 20, 40], "ant", "ant")]),
        ([(A, 0), (C, 1)], [(A, 0, 0.9)], [("nothing there", 0.3, C, "", "bee")]),
        ([], [(A, 0, 0.9), (A, 1, 0.6)], [("missing", 0.9, A, "ant", "")]),
    ],
)
def test_each_kind_of_doubt_is_known(labelled: Any, found: Any, expected: Any) -> None:
    doubts = list(doubts_about(judged(labelled, found), ["ant", "bee"]))
    assert [
        (d.kind, pytest.approx(d.score, abs=1e-3), list(d.box), d.label, d.labelled) for d in doubts
    ] == expected


def test_the_sheet_shows_the_original_around_the_box() -> None:
    one = judged([], [(B, 1, 0.9)])
    shown = sheet(list(doubts_about(one, One.categories)), {"a.png": one})
    assert shown is not None
    pixels = torch.from_numpy(shown.pixels.copy())
    assert pixels.shape == (SIDE, SIDE, 3)
    # 40 pixels around a box of 20: it begins and ends at a quarter of the picture.
    drawn = (pixels[110:140] != torch.tensor([0, 255, 0])).any(-1).all(0).nonzero().flatten()
    assert [int(drawn.min()), int(drawn.max())] == pytest.approx([50, 150], abs=2)
    assert pixels[125, 100].tolist() == [0, 255, 0]


def test_near_copies_are_in_one_fold(tmp_path: Path) -> None:
    from plugins.detection.data.splits import Data, open_data
    from tests.plugins.detection.data.folders import plant
    from tests.plugins.detection.data.test_dividing import yolo

    names = {f"train/p{n}_jpg.rf.{n:08x}{k:08x}": 10 * n + k for n in range(9) for k in range(2)}
    plant(tmp_path, yolo(names | {"val/a": 500, "test/b": 501}))
    train = unwrapped(open_data(Data(root=str(tmp_path), size=32)).train)
    parts = parts_of(train, 3)
    assert sorted(i for part in parts for i in part) == list(range(18))
    assert [len(part) for part in parts] == [6, 6, 6]
    assert all({i // 2 for i in part} == {i // 2 for i in part if i % 2} for part in parts)


def test_a_run_is_diagnosed_from_python_and_by_the_command(tmp_path: Path, diffobj: Any) -> None:
    root = folder(tmp_path / "data", {"train": 1, "val": 1, "test": 1})
    framework.train(overrides=options(root), folder=tmp_path / "run")
    run = framework.load(tmp_path / "run")
    found = diagnose(run)
    assert {Path(d.image).parent.name for d in found.doubts if d.learned} <= {"train"}
    assert {Path(d.image).parent.name for d in found.doubts if not d.learned} <= {"val", "test"}
    scores = [d.score for d in found.doubts]
    assert scores == sorted(scores, reverse=True)
    assert scores
    folds = diagnose(run, folds=3, steps=2)
    assert not any(d.learned for d in folds.doubts)
    done = diffobj("doctor", f"run={tmp_path / 'run'}")
    assert done.status == 0, done.err
    assert "| # | image | kind |" in done.out
    written = json.loads((tmp_path / "run" / "doctor" / "doctor.json").read_text())
    assert len(written) == len(found.doubts)
    assert (tmp_path / "run" / "doctor" / "doctor.png").is_file()


def test_another_folder_is_judged_by_models_of_its_own_images(
    tmp_path: Path, trained: Path, monkeypatch: Any
) -> None:
    """Not of the images that the run learned from, and not from a run that may have learned from these."""
    root = folder(tmp_path, {"train": 1, "val": 1, "test": 1})
    described = (root / "data.yaml").read_text().replace("owl, bee", "circle, square")
    (root / "data.yaml").write_text(described)
    learned: list[set[str]] = []

    def fit(task: Any, **options: Any) -> None:
        part = task.splits.train.source
        learned.append({str(innermost(part).entries[i].path) for i in part.indices})
        assert (task.init_from, task.criterion) == (None, "losses")

    monkeypatch.setattr(framework, "fit", fit)
    changes = [f"task.data.root={root}", "task.init_from=elsewhere", "task.criterion=reward"]
    run = framework.load(trained, overrides=changes)
    weights = run.task.parameters["score.bias"].clone()
    diagnose(run, folds=3)
    images = {str(root / "train" / f"{n}.png") for n in range(3)}
    assert [len(part) for part in learned] == [2, 2, 2]
    assert set.union(*learned) == images
    assert set.intersection(*learned) == set()
    assert torch.equal(run.task.parameters["score.bias"], weights)
    assert (run.task.init_from, run.task.criterion) == ("elsewhere", "reward")  # type: ignore[attr-defined]


def test_mistakes_are_refused_in_one_line(trained: Path, diffobj: Any) -> None:
    with pytest.raises(UserError, match="folds = 1: expected 0, or 2 or more"):
        diagnose(framework.load(trained), folds=1)
    done = diffobj("doctor", f"run={trained}", "folds=x")
    assert (done.status, done.err.strip().count("\n")) == (2, 0)
