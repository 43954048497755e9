"""The weights that come with the package: they fit, they are small and sound, and training starts from them."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from framework import UserError
from framework.plugin import ROOT
from framework.task import TrainingPlan
from plugins.detection.data.splits import Data
from plugins.detection.models.anchor_free import nano
from plugins.detection.models.initial import FILES, PRETRAINED
from plugins.detection.task import Detection

FOLDER = ROOT / "plugins" / "detection" / "models" / "pretrained"
SMALL = Data(size=64, train=8, validation=4, test=4)
PLAN = TrainingPlan(seed=0, steps=1)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_small_and_holds_all_but_the_class_heads(name: str) -> None:
    path = FOLDER / FILES[name]
    assert path.stat().st_size < 2_000_000
    given = torch.load(path, weights_only=True)
    own = nano(3).state_dict()
    wanted = {key for key in own if not key.startswith("score.") and not key.endswith("tracked")}
    assert given.keys() == wanted
    for key, value in given.items():
        assert value.shape == own[key].shape
        assert bool(value.float().isfinite().all())
        if key.endswith("running_var"):
            assert float(value.min()) > 0


def test_the_file_is_in_the_wheel() -> None:
    """Built from what git tracks."""
    tracked = subprocess.run(
        ["git", "ls-files", str(FOLDER)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("no checkout")
    assert {Path(line).name for line in tracked.stdout.splitlines()} >= set(FILES.values())


def test_training_starts_from_it(capsys: Any) -> None:
    task = Detection(data=SMALL, init_from=PRETRAINED)
    task.begin(PLAN)
    given = torch.load(FOLDER / "nano.pt", weights_only=True)
    for key, value in given.items():
        assert torch.equal(
            task.model.state_dict()[key], value.to(task.model.state_dict()[key].dtype)
        )
    said = capsys.readouterr().err
    assert "2 not in the file (score.weight, score.bias)" in said
    assert "reward" not in task.evaluate(0)


@pytest.mark.parametrize("model", ["tiny", "set_nano"])
def test_a_model_without_weights_is_refused_in_one_line(model: str) -> None:
    task = Detection(data=SMALL, model=model, init_from=PRETRAINED)
    with pytest.raises(UserError, match=rf"no weights come with task.model = '{model}'; "):
        task.begin(PLAN)


def test_it_is_no_trained_detector_to_tune() -> None:
    task = Detection(data=SMALL, init_from=PRETRAINED, criterion="reward")
    with pytest.raises(UserError, match=r"task\.criterion = 'reward' tunes a trained model"):
        task.begin(PLAN)
