"""The commands of a recognition run from calibration to forgetting, its export, and what they refuse."""

import json
import shutil

import numpy
import pytest
from PIL import Image

from plugins.faces.evaluation.model_card import SYNTHETIC_NOTICE
from tests.plugins.faces.tasks.small_runs import run
from tests.runs import Diffobj


@pytest.mark.slow
def test_a_run_is_exported_by_the_command_beside_its_checkpoints(own_copy, diffobj: Diffobj):
    said = diffobj("export", f"run={own_copy}", "format=torch_export")
    assert said.status == 0, said.err
    assert json.loads(said.out) == {"file": str(own_copy / "model.pt2")}
    assert (own_copy / "model.pt2.json").is_file()


def test_what_an_export_of_faces_does_not_take_is_refused_in_one_line(
    recognition, diffobj: Diffobj
):
    for option, message in (
        ("height=64", "height = '64': task 'faces_recognition' is exported with output= alone"),
        ("format=tflite", "format = 'tflite'"),
        ("output=model.bin", "expected a name that ends in .onnx or .pt2"),
    ):
        refused = diffobj("export", f"run={recognition}", option)
        assert (refused.status, refused.err.count("\n")) == (2, 1)
        assert message in refused.err


def test_the_commands_from_calibration_to_forgetting(own_copy, people, tmp_path, diffobj: Diffobj):
    a, b = people / "s1" / "1.pgm", people / "s2" / "1.pgm"
    blind = diffobj("verify", f"run={own_copy}", str(a), str(b))
    assert blind.status == 0
    assert SYNTHETIC_NOTICE in blind.err
    assert json.loads(blind.out)["same_person"] is None

    gallery = tmp_path / "people.json"
    needs = diffobj("cluster", f"run={own_copy}", f"input={people / 's1'}")
    assert needs.status == 2
    assert "no threshold without data" in needs.err

    refused = diffobj("calibrate", f"run={own_copy}", f"input={people}", "far=0.0001")
    assert refused.status == 2
    assert "far = 0.0001 needs 10,000 pairs of people, so 142 people; there are 8" in refused.err

    done = diffobj("calibrate", f"run={own_copy}", f"input={people}", "far=0.3")
    assert done.status == 0, done.err
    kept = json.loads((own_copy / "calibration.json").read_text())
    assert kept["far"] == 0.3
    assert kept["people"] == 8
    assert kept["impostor_pairs"] == 700

    same = diffobj("verify", f"run={own_copy}", str(a), str(a))
    answer = json.loads(same.out)
    assert same.status == 0
    assert answer["same_person"] is True
    assert abs(answer["cosine"] - 1) < 1e-3
    assert answer["far"] == 0.3

    enrol = ("enrol", f"run={own_copy}", f"gallery={gallery}")
    unasked = diffobj(*enrol, "Ann", str(a))
    assert unasked.status == 2
    assert "consent" in unasked.err
    assert diffobj(*enrol, "consent=form of May", "Ann", str(a)).status == 0
    odd = tmp_path / "k=1.pgm"
    shutil.copy(b, odd)
    assert diffobj(*enrol, "consent=form of June", "Bo", str(odd)).status == 0
    nameless = diffobj(*enrol, "consent=form of June", str(a), str(b))
    assert nameless.status == 2
    assert f"NAME = '{a}' is a picture" in nameless.err
    nowhere = diffobj(enrol[0], enrol[1], "gallery=no/such/g.json", "consent=form", "Cy", str(a))
    assert nowhere.status == 2
    assert "gallery = 'no/such/g.json'" in nowhere.err
    identify = ("identify", f"run={own_copy}", f"gallery={gallery}", str(a))
    small = diffobj(*identify, "fpir=0.05")
    assert small.status == 2
    assert (
        "fpir = 0.05 in a gallery of 2 needs a calibration on 10 people, it was on 8" in small.err
    )
    found = diffobj(*identify)
    assert json.loads(found.out)["person"] == "Ann", found.err
    listed = diffobj("list", f"gallery={gallery}")
    people_listed = [json.loads(line) for line in listed.out.splitlines()]
    assert [person["person"] for person in people_listed] == ["Ann", "Bo"]
    assert people_listed[0]["consents"][0]["consent"] == "form of May"
    assert "0 people had expired embeddings" in diffobj("purge", f"gallery={gallery}").out

    assert diffobj("forget", f"gallery={gallery}", "Ann").status == 0
    assert "Ann" not in gallery.read_text()
    grouped = diffobj("cluster", f"run={own_copy}", f"input={people / 's1'}")
    faces = [face for line in grouped.out.splitlines() for face in json.loads(line)["faces"]]
    assert sorted(faces) == [f"{k}.pgm" for k in range(1, 6)]


def test_calibration_by_a_list_of_pairs(own_copy, tmp_path, diffobj: Diffobj):
    root = tmp_path / "lfw"
    random = numpy.random.default_rng(0)
    names = ("Ann_Lee", "Bo", "Cy", "Di", "Eve", "Flo")
    for name in names:
        (root / name).mkdir(parents=True)
        for number in (1, 2):
            pixels = random.integers(0, 255, (30, 30, 3)).astype(numpy.uint8)
            Image.fromarray(pixels).save(root / name / f"{name}_{number:04d}.png")
    pairs = tmp_path / "pairs.txt"
    same = [f"{name} 1 2" for name in names]
    others = [f"{name} 1 {names[k - 1]} 2" for k, name in enumerate(names)]
    pairs.write_text("\n".join(["1 6", *same, *others]) + "\n")
    outcome = diffobj("calibrate", f"run={own_copy}", f"input={root}", f"pairs={pairs}", "far=0.5")
    assert outcome.status == 0, outcome.err
    kept = json.loads((own_copy / "calibration.json").read_text())
    assert (kept["genuine_pairs"], kept["impostor_pairs"], kept["pictures"]) == (6, 6, 12)
    assert (kept["people"], kept["person_pairs"]) == (6, 6)


def test_commands_refuse_a_run_that_is_no_face_task(tmp_path, diffobj: Diffobj):
    folder = run(tmp_path / "run", "experiment=javelin", "trainer.steps=2", "monitor.progress=none")
    outcome = diffobj("verify", f"run={folder}", "a.jpg", "b.jpg")
    assert outcome.status == 2
    assert "task javelin is not a face task" in outcome.err
