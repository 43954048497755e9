"""`diffobj inspect`: what is in a folder, what a perfect model could reach, which labels look wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from framework import UserError
from plugins.detection.data.folder import Damage, Folder
from plugins.detection.data.readers.entry import Annotation, Entry
from plugins.detection.data.splits import Data
from plugins.detection.inspection.ceiling import ceiling, representable
from plugins.detection.inspection.data_set import inspect
from plugins.detection.inspection.suspects import similar_names, suspects
from plugins.detection.models.aligned import aligned_nano
from plugins.detection.models.anchor_free import nano, tiny
from plugins.detection.models.set_prediction import set_nano
from plugins.detection.sample import Sample
from tests.plugins.detection.data.folders import plant


def data_set(root: Path) -> None:
    """Classes; in training an image without objects, a tiny box, one labelled twice; a leak into the test images."""
    plain = "0 .5 .5 .4 .4\n"
    files: dict[str, Any] = {
        "data.yaml": "names: [Cat, cats, owl]\ntrain: train\nval: val\ntest: test\n"
    }
    for split, seeds in {"train": range(6), "val": range(10, 12), "test": (20, 0)}.items():
        for n, seed in enumerate(seeds):
            files |= {f"{split}/{split}{n}.png": seed, f"{split}/{split}{n}.txt": plain}
    files["train/train1.txt"] = ""
    files["train/train2.txt"] = plain + "1 .2 .2 .01 .02\n"
    files["train/train3.txt"] = plain + "1 .5 .5 .4 .41\n"
    plant(root, files)


def test_a_folder_is_counted(tmp_path: Path) -> None:
    data_set(tmp_path / "data")
    found = inspect(Data(root=str(tmp_path / "data"), size=64))
    numbers = found.numbers
    assert numbers["splits"]["train"] == {
        "images": 6, "backgrounds": 1, "objects": 7, "crowds": 0, "most objects": 2, "tiny": 1,
        "images that lost objects": 0,
    }  # fmt: skip
    assert numbers["classes"] == {
        "Cat": {"train": 5, "validation": 2, "test": 2},
        "cats": {"train": 2, "validation": 0, "test": 0},
        "owl": {"train": 0, "validation": 0, "test": 0},
    }
    assert numbers["similar names"] == [("Cat", "cats")]
    assert numbers["leaks"] == [("train/train0.png", "test/test1.png")]
    assert numbers["ceiling"] == {"AP": 1, "AP50": 1, "AR100": 1, "lost": 0}
    assert [(s.entry.path.name, s.place, s.why) for s in found.suspects] == [
        ("train3.png", 1, "labelled as Cat, too")
    ]
    text = found.markdown()
    for line in (
        "Are 'Cat' and 'cats' one class?",
        "'owl' has no object to learn from.",
        "1 pairs of near copies are in different splits: train/train0.png and test/test1.png",
        "| train | 6 | 1 | 7 |",
    ):
        assert line in text
    files = {path.name for path in found.save(tmp_path / "out")}
    assert files == {"inspection.md", "inspection.json", "sheet.png", "suspects.png"}
    written = json.loads((tmp_path / "out" / "inspection.json").read_text())
    assert written["suspects"][0]["class"] == "cats"


def test_the_command_prints_and_writes_it(tmp_path: Path, diffobj: Any) -> None:
    data_set(tmp_path / "data")
    done = diffobj("inspect", f"task.data.root={tmp_path / 'data'}", f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    assert "| Cat (few) | 5 | 2 | 2 |" in done.out
    assert (tmp_path / "out" / "sheet.png").is_file()
    for arguments, why in (
        ([], "which folder? diffobj inspect task.data.root=FOLDER"),
        (["task.data.root=nowhere"], "no such folder"),
        (["task=javelin"], "it has no data of yours to inspect"),
        (["task.data.rot=x"], "did you mean"),
    ):
        done = diffobj("inspect", *arguments)
        assert done.status == 2
        assert why in done.err
        assert done.err.strip().count("\n") == 0


def boxes(*rows: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.tensor(rows)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        # Neighbouring cells of one class show one peak; the aligned family and the set have others.
        (nano, [True, False, True, True, True]),
        (aligned_nano, [True, True, True, True, False]),
        (set_nano, [True] * 5),
    ],
)
def test_what_a_family_cannot_detect_is_known(make: Any, expected: list[bool]) -> None:
    objects = boxes(
        (0, 0, 20, 20), (6, 0, 26, 20), (6, 0, 26, 20), (40, 40, 60, 60), (57, 8, 59, 10)
    )
    labels = torch.tensor([0, 0, 1, 0, 0])
    assert representable(objects, labels, make(2)).tolist() == expected


def test_equal_boxes_of_a_class_are_suppressed_where_there_are_several_levels() -> None:
    objects = boxes((0, 0, 60, 60), (4, 4, 64, 64))
    assert representable(objects, torch.tensor([0, 0]), tiny(2)).sum() == 1
    assert representable(objects, torch.tensor([0, 1]), tiny(2)).sum() == 2


def test_the_ceiling_falls_with_the_cap(tmp_path: Path) -> None:
    grid = [(40.0 * i, 40.0 * j, 40.0 * i + 20, 40.0 * j + 20) for i in range(4) for j in range(4)]
    none = torch.zeros(16)
    sample = Sample(
        torch.zeros(3, 160, 160), boxes(*grid), none.long(), none.bool(), none + 400, 1, (320, 320)
    )
    whole = ceiling([sample], nano(1), ["a"], 100)
    assert (whole["AP"], whole["lost"]) == (1, 0)
    capped = ceiling([sample], nano(1), ["a"], 8)
    assert capped["lost"] == 0.5
    assert capped["AP"] == pytest.approx(51 / 101, abs=0.01)
    assert ceiling([sample], set_nano(1, queries=4), ["a"], 100)["lost"] == 0.75


def test_odd_sizes_and_repeated_boxes_are_suspect(tmp_path: Path) -> None:
    usual = [
        Entry(tmp_path / f"{n}.png", (Annotation((0.0, 0.0, 20.0 + n % 5, 20.0), "a"),))
        for n in range(30)
    ]
    odd = Entry(
        tmp_path / "odd.png",
        (
            Annotation((0.0, 0.0, 400.0, 400.0), "a"),
            Annotation((0.0, 0.0, 100.0, 2.0), "a"),
            Annotation((50.0, 50.0, 72.0, 70.0), "a"),
            Annotation((50.0, 50.0, 72.0, 70.5), "a"),
        ),
    )
    found = suspects([Folder([*usual, odd], ["a"], Damage(31))])
    assert [(one.place, one.why) for one in found] == [
        (3, "labelled twice"),
        (0, "364 times larger than usual"),
        (1, "one side 50 times the other"),
    ]


def test_names_that_are_nearly_one_are_paired() -> None:
    names = [
        "person",
        "persons",
        "Person ",
        "car",
        "cat",
        "class 1",
        "class 2",
        "bicycle",
        "bicicle",
    ]
    assert similar_names(names) == [
        ("person", "persons"),
        ("person", "Person "),
        ("persons", "Person "),
        ("bicycle", "bicicle"),
    ]


def test_an_option_that_the_model_lacks_is_refused(tmp_path: Path) -> None:
    data_set(tmp_path / "data")
    with pytest.raises(UserError, match=r"task\.model_options\.iou_tipe.*iou_type"):
        inspect(Data(root=str(tmp_path / "data")), model_options={"iou_tipe": "giou"})
