"""LFW's folds, CFP's splits and templates on tiny folders whose right numbers are known."""

import json
import math
from pathlib import Path

import pytest
import torch

from framework import UserError
from plugins.faces.evaluation.protocols.folds import best_threshold, fold_accuracies
from tests.plugins.faces.evaluation.protocols.colour_faces import (
    BLACK,
    BLUE,
    GREEN,
    RED,
    ROSE,
    ColourFaces,
    paint,
)

FACES = ColourFaces()


def lfw(folder: Path) -> Path:
    """Two folds; in the second one a pair of one person looks different."""
    for name, colours in {"Ann": (RED, ROSE), "Bob": (GREEN, GREEN), "Cy": (BLUE, RED)}.items():
        for number, colour in enumerate(colours, 1):
            paint(folder / "lfw" / name / f"{name}_{number:04d}.png", colour)
    folds = ["Ann 1 2", "Ann 1 Bob 1", "Cy 1 2", "Bob 2 Cy 1"]
    (folder / "pairs.txt").write_text("\n".join(["2 1", *folds]))
    return folder


def test_lfw_is_measured_over_the_folds_of_its_own_list(tmp_path):
    found = FACES.protocol("lfw", lfw(tmp_path))
    # The other fold's threshold is right for three of the four pairs: folds of 1 and 1/2.
    assert found["accuracy"] == pytest.approx(0.75)
    assert found["accuracy_standard_error"] == pytest.approx(math.sqrt(0.125) / math.sqrt(2))
    assert (found["pairs"], found["pictures_without_face"]) == (4, 0)


def test_a_picture_without_a_face_is_counted_and_never_taken_for_another(tmp_path):
    folder = lfw(tmp_path)
    paint(folder / "lfw" / "Ann" / "Ann_0001.png", BLACK)
    found = FACES.protocol("lfw", folder)
    assert found["pictures_without_face"] == 1
    assert found["accuracy"] == pytest.approx(0.5)


def test_each_folds_threshold_comes_from_the_others_alone():
    cosines = torch.tensor([0.9, 0.1, 0.9, 0.1, 0.5, 0.4], dtype=torch.float64)
    same = torch.tensor([True, False, True, False, True, False])
    fold = torch.tensor([0, 0, 1, 1, 2, 2])
    # On the others of the third fold all of 0.1..0.9 are as good: the middle, 0.5, is taken.
    assert fold_accuracies(cosines, same, fold).tolist() == [1.0, 1.0, 1.0]
    assert best_threshold(cosines[:4], same[:4]) == pytest.approx(0.5)


def test_no_threshold_lies_between_equal_cosines():
    cosines = torch.tensor([0.3, 0.3, 0.3], dtype=torch.float64)
    threshold = best_threshold(cosines, torch.tensor([True, False, False]))
    assert threshold > 0.3


def cfp(folder: Path) -> Path:
    people = {"001": RED, "002": GREEN, "003": BLUE, "004": (250, 250, 90)}
    lists: dict[str, list[str]] = {"F": [], "P": []}
    for person, colour in people.items():
        for kind, view in (("F", "frontal"), ("P", "profile")):
            for number in (1, 2):
                name = f"Data/Images/{person}/{view}/{number:02d}.png"
                paint(folder / name, colour)
                lists[kind].append(f"{len(lists[kind]) + 1} ../{name}")
    for kind, lines in lists.items():
        place = folder / "Protocol" / f"Pair_list_{kind}.txt"
        place.parent.mkdir(exist_ok=True)
        place.write_text("\n".join(lines))
    splits = {"01": ("1,2", "1,3"), "02": ("5,6", "5,7")}
    for kind in ("FF", "FP"):
        for split, (same, different) in splits.items():
            place = folder / "Protocol" / "Split" / kind / split
            place.mkdir(parents=True)
            (place / "same.txt").write_text(same)
            (place / "diff.txt").write_text(different)
    return folder


def test_cfp_is_measured_for_frontal_pairs_and_for_pairs_with_a_profile(tmp_path):
    folder = cfp(tmp_path)
    # Of the profiles, one is of somebody else.
    paint(folder / "Data/Images/001/profile/02.png", GREEN)
    found = FACES.protocol("cfp", folder)
    assert (found["ff_accuracy"], found["ff_eer"]) == (1.0, 0.0)
    assert found["fp_accuracy"] == pytest.approx(0.75)
    assert found["fp_pairs"] == 4


def ijb(folder: Path) -> Path:
    """Template 1 is a still and a video of three frames, of one person; 2 is of the same, 3 of another."""
    shots = [("a", 1, 10, RED), *((f"v{k}", 1, 11, GREEN) for k in range(3))]
    shots += [("b", 2, 12, (250, 250, 90)), ("c", 3, 13, BLUE)]
    lines = []
    for name, template, medium, colour in shots:
        paint(folder / "loose_crop" / f"{name}.png", colour)
        lines.append(f"{name}.png {template} {medium}")
    (folder / "meta").mkdir()
    (folder / "meta" / "ijbb_face_tid_mid.txt").write_text("\n".join(lines))
    pairs = "1 2 1\n1 3 0\n" + "2 3 0\n" * 9
    (folder / "meta" / "ijbb_template_pair_label.txt").write_text(pairs)
    return folder


def test_a_video_counts_no_more_in_a_template_than_a_still(tmp_path):
    from plugins.faces.evaluation.protocols.folds import embedded
    from plugins.faces.evaluation.protocols.ijb import measured, read_shots, templates

    folder = ijb(tmp_path)
    shots = read_shots(folder)
    means = templates(shots, embedded(FACES, [shot.file for shot in shots]))
    red, green = (torch.tensor([float(n) - 100 for n in colour]) for colour in (RED, GREEN))
    half = red / red.norm() + green / green.norm()
    assert torch.allclose(means["1"], half / half.norm(), atol=1e-6)
    found = measured(FACES, folder)
    assert (found["eer"], found["tar_at_far_0.1"]) == (0.0, 1.0)
    assert "tar_at_far_0.01" not in found
    assert (found["templates"], found["genuine_pairs"], found["impostor_pairs"]) == (3, 1, 10)


def test_the_command_says_what_python_says(tmp_path, diffobj, monkeypatch):
    from plugins.faces.analysis import pipeline

    monkeypatch.setattr(
        pipeline.FacePipeline, "of", staticmethod(lambda **_: ColourFaces()), raising=True
    )
    said = diffobj("protocol", "detector=any", "name=lfw", f"input={lfw(tmp_path)}")
    assert json.loads(said.out)["accuracy"] == 0.75
    refused = diffobj("protocol", "detector=any", "name=lwf", f"input={tmp_path}")
    assert "did you mean 'lfw'" in refused.err


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("lfw", {"pairs.txt": None}, "expected pairs.txt in it"),
        (
            "lfw",
            {"pairs.txt": "1 1\nAnn 1 2\nAnn 1 Bob 1"},
            "1 fold of pairs: expected two or more",
        ),
        ("lfw", {"pairs.txt": "1 1\nAnn 1 Ann 2\nAnn 1 Bob 1"}, "expected 'NAME I NAME J' of two"),
        ("lfw", {"pairs.txt": "1 1\nAnn 1 Bob 1\nAnn 1 2"}, "first the 1 pairs of one person"),
        ("cfp", {"Protocol/Split/FF/01/same.txt": "1,99"}, "line 1: '1,99'; expected"),
        ("cfp", {"Protocol/Pair_list_F.txt": "1 ../../x.png"}, "'../../x.png' leads out"),
        ("cfp", {"Protocol/Pair_list_P.txt": "1 a.png\n1 b.png"}, "each number once"),
        ("ijb", {"meta/ijbb_template_pair_label.txt": "1 9 1"}, "line 1: '1 9 1'"),
        ("ijb", {"meta/ijbb_template_pair_label.txt": "1 2 1"}, "of one person and of two"),
        ("ijb", {"meta/ijbb_face_tid_mid.txt": "/etc/passwd 1 1"}, "expected 'PICTURE TEMPLATE"),
        ("ijb", {"ijbc_face_tid_mid.txt": "a 1 1"}, "2 files"),
    ],
)
def test_a_folder_of_another_layout_is_refused_in_one_line(tmp_path, name, change, message):
    folder = {"lfw": lfw, "cfp": cfp, "ijb": ijb}[name](tmp_path)
    for file, text in change.items():
        (folder / file).unlink() if text is None else (folder / file).write_text(text)
    with pytest.raises(UserError) as refused:
        FACES.protocol(name, folder)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_picture_that_was_trained_on_stops_a_protocol(tmp_path):
    folder = lfw(tmp_path)
    paint(folder / "lfw" / "Cy" / "Cy_0001.png", (255, 255, 255))
    with pytest.raises(UserError, match=r"Cy_0001\.png: was trained on"):
        FACES.protocol("lfw", folder)
