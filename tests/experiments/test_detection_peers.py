"""Detectors at equal CPU-seconds: what counts as training, how long it lasts, what is written; without any peer."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import framework
from experiments.benchmarks import detection_peers as peers
from plugins.detection.data.generated import Generated
from plugins.detection.data.resizing import Resized
from plugins.detection.sample import Detections


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Any:
    """CPU time by hand."""
    clock = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(time, "process_time", lambda: clock.seconds)
    return clock


def test_what_is_not_training_does_not_count(now: Any) -> None:
    clock = peers.Clock(time.process_time())
    now.seconds += 5

    def evaluate() -> str:
        now.seconds += 100
        return "done"

    assert clock.without(evaluate) == "done"
    now.seconds += 2
    assert clock.seconds == 7


def test_a_training_lasts_as_long_as_it_may_and_its_curve_counts_training_only(
    now: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Half a second a step; an evaluation takes seven, and the last one is of the test images."""
    wanted: list[tuple[int, list[str]]] = []

    def train(name: str, *, steps: int, folder: Path, overrides: list[str], **call: Any) -> Any:
        wanted.append((steps, overrides))
        every = next(int(o.partition("=")[2]) for o in overrides if "evaluate_every" in o)
        for step in range(1, steps + 1):
            # The first steps are slow: they do not decide how many there are.
            now.seconds += 3.0 if every == 0 and step <= peers.WARM_UP else 0.5
            call["on_step"](step, None)
            if every and step % every == 0:
                now.seconds += 7
                call["on_evaluation"](step, {"AP": step / 1000, "AP50": step / 500})
        if every:
            now.seconds += 7
            call["on_evaluation"](steps, {"AP": 0.9, "AP50": 0.95})
        model = torch.nn.Linear(3, 4)
        return SimpleNamespace(task=SimpleNamespace(model=model), metrics={"AP": 0.9, "AP50": 0.95})

    monkeypatch.setattr(framework, "train", train)
    found = peers.ours("ssdlite", tmp_path, 64, 120, None, tmp_path)  # type: ignore[arg-type]
    assert [steps for steps, _ in wanted] == [peers.MEASURED, 240]
    assert "task.model=ssdlite" in wanted[1][1]
    assert "trainer.evaluate_every=40" in wanted[1][1]
    assert found.curve == [(0.5 * n, n / 1000, n / 500) for n in (40, 80, 120, 160, 200, 240)]
    assert (found.steps, found.seconds, found.parameters, found.test) == (240, 120, 16, (0.9, 0.95))


def test_all_are_judged_in_the_originals_pixels() -> None:
    source = Resized(Generated("test", 4, 64), 32, 100)
    samples = [source.sample(i) for i in range(4)]
    whole = [
        Detections(s.boxes, torch.ones(len(s.boxes)), s.labels).scaled(s.scale, s.size)
        for s in samples
    ]
    assert list(peers.average_precision(source, whole)) == pytest.approx([1, 1])
    halved = [Detections(one.boxes / 2, one.scores, one.labels) for one in whole]
    assert peers.average_precision(source, halved)[0] < 0.1


def test_what_is_written_for_a_peer_are_the_images_that_ours_learn_from() -> None:
    source = Resized(Generated("train", 2, 64), 32, 100)
    upright = peers.Upright(source)
    assert len(upright) == 2
    assert upright.categories == source.categories
    sample = upright.sample(1)
    assert sample.size == sample.image.shape[1:] == (32, 32)
    assert torch.equal(sample.boxes, source.sample(1).boxes)


def test_the_table_and_the_curves_are_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    def reached(model: str, *rest: Any) -> peers.Peer:
        return peers.Peer(peers.NAMES[model], 400_000, 240, 119.6, [(60.0, 0.2, 0.5)], (0.3, 0.6))

    monkeypatch.setattr(peers, "ours", reached)
    monkeypatch.setattr(peers, "open_data", lambda data: None)
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    peers.main([str(tmp_path), "seconds=120", f"output={tmp_path / 'out'}"])
    row = "| diffobj, nano | 0.4 M | 240 | 120 | 0.300 | 0.600 |\n"
    assert row in capsys.readouterr().out
    assert row in (tmp_path / "out" / "peers.md").read_text()
    assert json.loads((tmp_path / "out" / "peers.json").read_text())[1]["curve"] == [[60, 0.2, 0.5]]
    assert (tmp_path / "out" / "peers.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Detectors from random weights"),
        (["data", "second=3"], "'second': expected seconds, size, output"),
        (["data", "seconds=two"], "seconds = 'two': expected a whole number above 0"),
        (["data", "size=0"], "size = '0': expected a whole number above 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        peers.parsed(arguments)
