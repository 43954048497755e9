"""The plugin's results at full size, by the commands of its page: minutes each."""

import time
from pathlib import Path
from statistics import mean

import pytest

from framework.commands import train
from tests.plugins.faces.stand_in import write_stand_in
from tests.runs import result

pytestmark = pytest.mark.slow


def finished(folder: Path, *arguments: str) -> tuple[dict[str, float], float]:
    """A run's final metrics and its CPU seconds, rendering and evaluation included."""
    began = time.process_time()
    assert train.run([*arguments, "monitor.progress=none", f"hydra.run.dir={folder}"]) == 0
    return result(folder)["metrics"], time.process_time() - began


def test_unseen_people_are_verified_after_minutes_of_one_core(tmp_path):
    runs = [
        finished(
            tmp_path / str(seed),
            "experiment=faces_recognition",
            "trainer.precision=bfloat16",
            f"seed={seed}",
        )
        for seed in (0, 1, 2)
    ]
    assert mean(metrics["eer"] for metrics, _ in runs) <= 0.07
    for metrics, seconds in runs:
        assert metrics["eer"] <= 0.08
        assert metrics["tar_at_far_0.01"] >= 0.6
        assert min(metrics["raw_pixels_eer"], metrics["random_network_eer"]) > 0.3
        assert seconds < 720


def test_faces_are_detected_and_distinguished_by_one_network(tmp_path):
    metrics, seconds = finished(tmp_path / "run", "experiment=faces")
    assert metrics["AP50"] >= 0.95
    assert metrics["eer"] <= 0.12
    assert seconds < 1800


def test_a_folder_of_forty_people_is_better_verified_than_without_learning(tmp_path):
    root = write_stand_in(tmp_path / "people")
    metrics, seconds = finished(
        tmp_path / "run",
        "experiment=faces_recognition",
        f"task.data.root={root}",
        "trainer.steps=60",
        "trainer.precision=bfloat16",
    )
    assert metrics["eer"] <= 0.045
    assert metrics["tar_at_far_0.001"] >= 0.75
    without = ("raw_pixels_eer", "even_pixels_eer", "random_network_eer", "whitened_pixels_eer")
    assert metrics["eer"] < min(metrics[name] for name in without)
    assert seconds < 120
