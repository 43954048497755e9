"""What the live measurement of an estimator's quality costs at its default interval, as a share of training.

Run: python -m experiments.benchmarks.quality

CPU time of one measurement against that of as many training steps as lie between two of them.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from experiments.command import given_arguments
from framework.config.composition import compose
from framework.config.validation import validate
from framework.training.assembly import make_components
from framework.training.folders.run_folder import RunFolder
from framework.training.monitor import Monitor
from framework.training.trainer import Trainer

BAR = 0.05
RUNS = {
    "javelin by rloo": ["experiment=javelin", "estimator=rloo"],
    "javelin by reparameterisation": ["experiment=javelin", "estimator=reparameterisation"],
    "cartpole by rloo": ["experiment=cartpole"],
}


def share(overrides: list[str], steps: int) -> float:
    """One measurement's CPU time over that of the steps between two."""
    quiet = ["monitor.progress=none", "monitor.tensorboard=false", "trainer.evaluate_every=0"]
    settings = validate(compose([*overrides, *quiet, f"trainer.steps={steps}"]).config)
    every = settings.trainer.quality.every
    components = make_components(settings)
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        folder = RunFolder(Path(place) / "run")
        folder.open()
        trainer = Trainer(settings, components, folder)
        monitor = Monitor(folder.path, settings.monitor, experiment="x", steps=steps, start=0)
        stepping = seconds(lambda: trainer.loop(monitor)) / steps
        # The first measurement also imports what it needs.
        trainer.quality()
        measuring = seconds(trainer.quality)
        monitor.close()
        folder.close()
    return measuring / (stepping * every)


def seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def main() -> None:
    torch.set_num_threads(1)
    for name, overrides in RUNS.items():
        found = share(overrides, 60 if "cartpole" in name else 999)
        verdict = "within" if found <= BAR else "ABOVE"
        print(f"{name:<34} {found:6.2%} of training  {verdict} {BAR:.0%}", flush=True)


if __name__ == "__main__":
    given_arguments(__doc__, most=0)
    main()
