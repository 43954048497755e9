"""Sweeps by Hydra's launchers for several processes, for real: each where its extra is installed."""

import os
from pathlib import Path

import pytest

from framework.training.folders.sweep_folder import SweepFolder
from tests.runs import Outcome, python, result

pytestmark = pytest.mark.slow

LAUNCHERS = {
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit": ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=10"],
    "ray": ["hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2"],
}
SWEEP = [
    "experiment=javelin", "trainer.steps=5", "monitor.tensorboard=false", "monitor.progress=none",
    "seed=range(0,8)", "hydra.sweep.dir=here",
]  # fmt: skip


def sweep(folder: Path, launcher: str) -> Outcome:
    command = ["-m", "framework.commands.main", "train", "-m", *SWEEP, *LAUNCHERS[launcher]]
    process = python(*command, cwd=folder)
    out, err = process.communicate(timeout=900)
    return Outcome(process.returncode, out, err)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_of_eight_jobs_one_fails_seven_finish_and_the_same_command_runs_what_is_missing(
    tmp_path, launcher
):
    pytest.importorskip(
        f"hydra_plugins.hydra_{launcher}_launcher",
        reason=f"its launcher is not installed: make install EXTRAS={launcher}",
    )
    # A run folder with a link in it is refused.
    place = tmp_path / "here" / "3"
    place.mkdir(parents=True)
    (place / "stray").symlink_to("nowhere")
    first = sweep(tmp_path, launcher)
    if "timed out during startup" in first.err:
        assert first.err.splitlines()[-1].startswith("diffobj: the sweep has stopped: Exception: ")
        pytest.skip("Ray did not start within its own 30 seconds: the machine is busy")
    assert first.status == 2, first.err
    jobs = SweepFolder(tmp_path / "here").jobs()
    assert [job.state == "finished" for job in jobs] == [number != 3 for number in range(8)]
    assert "stray is a symbolic link" in jobs[3].error
    assert "sweep here: 7 finished, 1 failed" in first.out
    assert [job.overrides for job in jobs] == [[f"seed={seed}"] for seed in range(8)]
    for number, job in enumerate(jobs):
        if number != 3:
            found = result(tmp_path / "here" / str(number))
            assert job.value == found["metrics"]["objective"]
    others = [p for p in (tmp_path / "here").glob("[!3]/**/*") if p.is_file()]
    before = {path: os.stat(path).st_mtime_ns for path in others if path.name != ".lock"}
    (place / "stray").unlink()
    again = sweep(tmp_path, launcher)
    assert again.status == 0, again.err
    assert [job.state for job in SweepFolder(tmp_path / "here").jobs()] == ["finished"] * 8
    assert {path: os.stat(path).st_mtime_ns for path in before} == before
    # Submitit has each job's lines in a file of its own, and Ray passes on what it comes to.
    if launcher == "joblib":
        assert again.out.count("has finished before") == 7
