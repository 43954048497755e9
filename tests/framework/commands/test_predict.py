"""diffobj predict: a trained run used on what the user has."""

from pathlib import Path

import pytest
import torch

from framework.commands import train
from tests.runs import Diffobj, newest


@pytest.fixture
def run(toy: Path, tmp_path: Path) -> Path:
    """A short run of the toy regression."""
    folder = tmp_path / "run"
    train.run(["experiment=toy", "task.layers=plain", f"hydra.run.dir={folder}"])
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "my rows.txt"
    path.write_text("0 0 0 0\n1 2 3 4\n")
    return path


def test_the_averaged_parameters_of_the_checkpoint_are_used(run, rows, tmp_path, diffobj: Diffobj):
    outcome = diffobj("predict", f"run={run}", f"input={rows}", "checkpoint=last")
    assert outcome.status == 0, outcome.err
    average = newest(run)["average"]
    weights = [average[name] for name in ("0.weight", "0.bias", "2.weight", "2.bias")]
    for number, row in enumerate(([0.0, 0, 0, 0], [1.0, 2, 3, 4])):
        hidden = torch.tanh(weights[0] @ torch.tensor(row) + weights[1])
        expected = (weights[2] @ hidden + weights[3]).item()
        said = float((run / "predictions" / "rows" / f"{number}.txt").read_text())
        assert said == pytest.approx(expected, abs=2e-6)


def test_each_file_is_named_and_the_folder_is_the_last_line(run, rows, tmp_path, diffobj: Diffobj):
    folder = tmp_path / "made" / "here"
    outcome = diffobj("predict", f"run={run}", f"input={rows}", f"output={folder}")
    assert outcome.out.splitlines() == [
        str(folder / "rows" / "0.txt"),
        str(folder / "rows" / "1.txt"),
        str(folder / "state.txt"),
        str(folder),
    ]


def test_the_model_is_in_evaluation_mode_without_gradients(run, diffobj: Diffobj):
    diffobj("predict", f"run={run}", "task.label=changed")
    told = (run / "predictions" / "state.txt").read_text()
    assert told == "training False, gradients False, changed"


def test_an_input_that_is_not_there_is_told_before_anything_is_loaded(run, diffobj: Diffobj):
    outcome = diffobj("predict", "run=nowhere", "input=photo.jpeg")
    assert outcome.status == 2
    assert outcome.err == "diffobj: input = 'photo.jpeg': there is no such file or folder\n"


def test_a_task_without_predictions_says_so(tmp_path, diffobj: Diffobj):
    folder = tmp_path / "run"
    train.run(["experiment=javelin", "trainer.steps=1", f"hydra.run.dir={folder}"])
    outcome = diffobj("predict", f"run={folder}")
    assert outcome.status == 2
    assert outcome.err == "diffobj: Javelin makes no predictions; diffobj evaluate measures it\n"
    assert not (folder / "predictions").exists()
