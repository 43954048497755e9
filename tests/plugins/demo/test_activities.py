"""What comes with the demo: trained runs under five megabytes that do what the page says."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from experiments import demo_runs
from framework import UserError
from plugins.demo import runs as runs_module
from plugins.demo.activities import detect, faces, play
from plugins.demo.runs import PACKED, Runs

EXAMPLES = PACKED.with_name("examples")


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    opened = Runs()
    yield opened
    opened.close()


class Listener:
    """Whoever is sent to, until there is enough."""

    def __init__(self, enough: int = 10**6) -> None:
        self.told: list[dict[str, Any]] = []
        self.enough = enough

    def __call__(self, line: dict[str, Any]) -> bool:
        json.dumps(line)
        self.told.append(line)
        return len(self.told) < self.enough


def test_everything_that_comes_along_is_under_five_megabytes_and_made_by_the_command():
    files = [*PACKED.iterdir(), *EXAMPLES.iterdir()]
    assert sum(file.stat().st_size for file in files) < demo_runs.LIMIT == 5_000_000
    assert {file.stem for file in PACKED.iterdir()} == set(demo_runs.TRAININGS)


@pytest.mark.slow
def test_the_trained_agent_balances_the_pole_and_the_first_one_does_not(runs):
    trained, first = Listener(), Listener()
    play(runs, trained, None, game="cartpole", seed=3)
    assert trained.told[-1] == {"rate": 25.0, "frames": 250}
    assert len(trained.told) == 251
    play(runs, first, None, game="cartpole", trained=False, seed=3)
    assert first.told[-1]["frames"] < 125


@pytest.mark.slow
def test_an_episode_is_the_same_from_the_same_start_and_ends_when_nobody_listens(runs):
    whole, cut = Listener(), Listener(enough=5)
    play(runs, whole, None, game="cartpole", seed=4)
    play(runs, cut, None, game="cartpole", seed=4)
    assert cut.told == whole.told[:5]


@pytest.mark.slow
@pytest.mark.parametrize(("activity", "name"), [(detect, "objects"), (faces, "faces")])
def test_the_examples_hold_something_that_is_found(runs, activity, name):
    for number in (1, 2):
        listener = Listener()
        activity(runs, listener, EXAMPLES / f"{name}_{number}.png")
        (answer,) = listener.told
        assert answer["picture"].startswith("data:image/png;base64,")
        assert max(one["score"] for one in answer["found"]) > 0.5


def test_without_a_picture_one_is_asked_for(runs):
    with pytest.raises(UserError, match=r"^which picture\? drop one, or take an example$"):
        detect(runs, Listener(), None)


def test_a_run_that_is_not_there_is_named_with_the_command_that_makes_it(monkeypatch, tmp_path):
    monkeypatch.setattr(runs_module, "PACKED", tmp_path)
    with pytest.raises(UserError, match=r"cartpole\.zip is missing: python -m experiments\.demo_r"):
        Runs().trained("cartpole")


def test_a_missing_extra_is_one_line(monkeypatch):
    def missing(*arguments: Any, **options: Any) -> Any:
        raise UserError("COCO's metrics need faster-coco-eval: make install EXTRAS=detection")

    monkeypatch.setattr("framework.load", missing)
    with pytest.raises(UserError, match=r"make install EXTRAS=detection$"):
        Runs().trained("detection")


def test_rounding_keeps_eight_bits_to_nearest():
    import torch

    values = torch.tensor([1.0, -1.0, 1 + 2**-9 + 2**-12, 1 + 2**-10, 3.1415927, 0.0])
    expected = torch.tensor([1.0, -1.0, 1 + 2**-8, 1.0, 3.140625, 0.0])
    assert torch.equal(demo_runs.rounded(values), expected)
    whole = torch.tensor([1, 2])
    assert demo_runs.rounded(whole) is whole


def test_the_runs_lie_beside_the_plugin(runs):
    assert Path(PACKED).parent.name == "demo"


def test_an_object_that_has_several_labels_is_shown_with_the_likeliest(runs, monkeypatch):
    boxes = torch.tensor([[10.0, 10, 60, 60], [11.0, 10, 60, 61], [100.0, 100, 140, 140]])
    there = SimpleNamespace(
        boxes=boxes, scores=torch.tensor([0.5, 0.7, 0.6]), names=("star", "cross", "ring")
    )
    task = SimpleNamespace(detect=lambda picture: there)
    monkeypatch.setattr(runs, "trained", lambda name: SimpleNamespace(task=task))
    listener = Listener()
    detect(runs, listener, EXAMPLES / "objects_1.png")
    assert [one["label"] for one in listener.told[0]["found"]] == ["cross", "ring"]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", sorted(path.stem for path in PACKED.glob("*.zip")))
def test_a_run_that_comes_along_is_loaded(runs, name):
    assert runs.trained(name).step > 0
