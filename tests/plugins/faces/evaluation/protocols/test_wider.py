"""WIDER FACE's levels on a folder of three photographs whose right numbers are known."""

from pathlib import Path

import numpy
import pytest
import torch

from framework import UserError
from plugins.faces.evaluation.protocols.wider import average_precision, judged
from tests.plugins.faces.evaluation.protocols.colour_faces import RED, ColourFaces, paint

scipy_io = pytest.importorskip("scipy.io")


def cell(*values: object) -> numpy.ndarray:
    found = numpy.empty((len(values), 1), dtype=object)
    for k, value in enumerate(values):
        found[k, 0] = value
    return found


def wider(folder: Path, counted: dict[str, list[list[int]]]) -> Path:
    """Two photographs of an event, x y w h of their faces, and the numbers of those that count at each level."""
    boxes = [[[0, 0, 10, 10], [20, 0, 10, 10]], [[0, 0, 10, 10]]]
    for name in ("p", "q"):
        paint(folder / "images" / "0--Parade" / f"{name}.jpg", RED, (40, 40))
    for level, lists in counted.items():
        content = {
            "event_list": cell("0--Parade"),
            "file_list": cell(cell("p", "q")),
            "face_bbx_list": cell(cell(*(numpy.array(b) for b in boxes))),
            "gt_list": cell(cell(*(numpy.array(n).reshape(-1, 1) for n in lists))),
        }
        scipy_io.savemat(folder / f"wider_{level}_val.mat", content)
    return folder


LEVELS = {"easy": [[1], []], "medium": [[1, 2], []], "hard": [[1, 2], [1]]}


def test_faces_that_do_not_count_are_neither_right_nor_wrong(tmp_path):
    # In both photographs the first face, then nothing, then, in the first, the second face.
    faces = ColourFaces([[0, 0, 10, 10], [0, 30, 5, 35], [20, 0, 30, 10]])
    found = faces.protocol("wider", wider(tmp_path, LEVELS))
    assert [found[f"faces_{level}"] for level in LEVELS] == [1, 2, 3]
    # Of 0.9, 0.9, 0.7, 0.7, 0.5, 0.5 the second 0.9 does not count but in the last.
    assert found["ap_easy"] == pytest.approx(1.0)
    assert found["ap_medium"] == pytest.approx(0.5 + 0.5 * 2 / 4)
    assert found["ap_hard"] == pytest.approx(2 / 3 + 1 / 3 * 3 / 5)


def test_a_face_is_right_once_and_its_second_detection_wrong():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10]])
    scores, right = judged(boxes, torch.tensor([0.9, 0.8]), boxes[:1], torch.tensor([True]))
    assert right.tolist() == [True, False]
    assert scores.tolist() == pytest.approx([0.9, 0.8])


def test_precision_is_interpolated_to_the_best_at_a_higher_recall():
    scores = torch.tensor([0.9, 0.8, 0.7])
    right = torch.tensor([False, True, True])
    assert average_precision([(scores, right)], 2) == pytest.approx(2 / 3)
    assert numpy.isnan(average_precision([(scores, right)], 0))


@pytest.mark.parametrize(
    ("counted", "message"),
    [
        ({"easy": [[1], []]}, "expected wider_medium_val.mat"),
        (LEVELS | {"hard": [[3], []]}, "wider_hard_val.mat: a face's number beyond 2"),
    ],
)
def test_a_folder_of_another_layout_is_refused_in_one_line(tmp_path, counted, message):
    with pytest.raises(UserError, match=message):
        ColourFaces().protocol("wider", wider(tmp_path, counted))


def test_a_damaged_list_is_refused_in_one_line(tmp_path):
    folder = wider(tmp_path, LEVELS)
    (folder / "wider_easy_val.mat").write_bytes(b"MATLAB" * 30)
    with pytest.raises(UserError, match=r"wider_easy_val\.mat: ") as refused:
        ColourFaces().protocol("wider", folder)
    assert "\n" not in str(refused.value)
