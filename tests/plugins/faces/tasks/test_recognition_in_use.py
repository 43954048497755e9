"""A trained run of recognition is used without its photographs, and judged by people of whom it saw none."""

import json
import shutil
from pathlib import Path

import numpy
import pytest
from PIL import Image

from plugins.faces.evaluation.model_card import SYNTHETIC_NOTICE
from plugins.faces.tasks.people_data import Data
from plugins.faces.tasks.recognition import Recognition
from tests.plugins.faces.stand_in import write_stand_in
from tests.runs import Diffobj, result


def test_a_run_is_used_without_its_photographs(own_photographs, people, diffobj: Diffobj):
    a, b = str(people / "s1" / "1.pgm"), str(people / "s2" / "1.pgm")
    answers = [
        diffobj("verify", f"run={own_photographs}", a, b, *more)
        for more in ((), (f"task.data.root={people}",), ("task.data.root=null",))
    ]
    assert [a.status for a in answers] == [0, 0, 0], answers
    assert answers[0].out == answers[1].out == answers[2].out
    assert SYNTHETIC_NOTICE not in answers[2].err


def test_a_run_is_judged_on_any_folder_by_the_people_of_whom_it_saw_none(
    own_photographs, people, tmp_path, diffobj: Diffobj
):
    def metrics(root: Path) -> dict[str, float]:
        outcome = diffobj("evaluate", f"run={own_photographs}", f"task.data.root={root}")
        assert outcome.status == 0, outcome.err
        found: dict[str, float] = json.loads(outcome.out)["metrics"]
        return found

    before = result(own_photographs)["metrics"]
    # Three people make no folds.
    before.pop("accuracy")
    assert metrics(people).items() >= before.items()
    more = tmp_path / "more"
    shutil.copytree(people, more)
    new = write_stand_in(tmp_path / "other", people=10, pictures=5)
    # Who takes everybody's place in the order.
    shutil.copytree(new / "s10", more / "a")
    assert metrics(more)["genuine_pairs"] == 4 * 10
    for k in range(1, 9):
        # The same people again.
        shutil.rmtree(new / f"s{k}")
    assert metrics(new)["genuine_pairs"] == 2 * 10
    shutil.rmtree(more)
    for name in Recognition(data=Data(root=str(people), side=24)).people.training.names:
        shutil.copytree(people / name, more / name)
    refused = diffobj("evaluate", f"run={own_photographs}", f"task.data.root={more}")
    assert refused.status == 2
    assert "0 people who were not trained on" in refused.err


@pytest.mark.slow
def test_people_who_were_learned_from_are_left_out_of_a_calibration(
    own_photographs, people, tmp_path, diffobj: Diffobj
):
    arguments = ("calibrate", f"run={own_photographs}", "far=0.2")
    # Copies of the same people's pictures, and four more people.
    more = write_stand_in(tmp_path / "more", people=12, pictures=5)
    for file in sorted(more.rglob("*.pgm")):
        Image.open(file).save(file.with_suffix(".jpg"), quality=80)
        file.unlink()
    done = diffobj(*arguments, f"input={more}")
    assert done.status == 0, done.err
    assert "left out: 5 people who were trained on" in done.err
    kept = json.loads((own_photographs / "calibration.json").read_text())
    assert (kept["people"], kept["person_pairs"]) == (7, 21)
    assert (kept["genuine_pairs"], kept["impostor_pairs"]) == (70, 525)
    training = Recognition(data=Data(root=str(people), side=24)).people.training.names
    for name in training:
        shutil.copytree(people / name, tmp_path / "training" / name)
    refused = diffobj(*arguments, f"input={tmp_path / 'training'}")
    assert refused.status == 2
    assert "5 of 5 people were trained on" in refused.err


def test_predictions_are_a_row_of_numbers_for_each_picture(recognition, people, diffobj: Diffobj):
    outcome = diffobj("predict", f"run={recognition}", f"input={people / 's3'}")
    assert outcome.status == 0, outcome.err
    rows = (recognition / "predictions" / "embeddings.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == [f"{k}.pgm" for k in range(1, 6)]
    numbers = numpy.array([[float(n) for n in row.split(",")[1:]] for row in rows])
    assert numpy.allclose((numbers**2).sum(1), 1, atol=1e-4)
