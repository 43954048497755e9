"""Detectors from random weights at equal CPU-seconds on one small data set: ours and two others.

    python -m experiments.benchmarks.detection peers DATA_FOLDER [seconds=120] [size=320] [output=outputs/peers]

`nano` by `experiment=detection`, torchvision's ssdlite320 in the same training, and ultralytics' nano by its own, each
with its defaults for data of one's own. Who is not installed is left out (make install EXTRAS=benchmarks). Each is
trained on one thread until the CPU-seconds are spent, and its learning-rate schedule ends there: the speed of a step is
measured first. Evaluations, which cost all of them nothing here, are by the same code on the same images. Prints a
table of the test images, and writes it to OUTPUT/peers.md, and the curves of the validation images over CPU time to
OUTPUT/peers.png and .json.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

import framework
from framework import Image
from plugins.detection.data.splits import Data, Splits, open_data
from plugins.detection.data.writing import write
from plugins.detection.evaluation.metrics import precision
from plugins.detection.sample import Detections, Sample, Source

# Points of each curve, and steps that measure a step's speed, of which the first ones are warm-up.
POINTS, MEASURED, WARM_UP = 6, 12, 4
NAMES = {
    "nano": "diffobj, nano",
    "ssdlite": "torchvision, ssdlite320",
    "ultralytics": "ultralytics, yolo26n",
}


@dataclass
class Peer:
    """What a detector reached.

    Attributes:
        curve: (CPU-seconds of training, AP, AP50) on the validation images.
        test: AP and AP50 on the test images, after all of them.
    """

    name: str
    parameters: int = 0
    steps: int = 0
    seconds: float = 0.0
    curve: list[tuple[float, float, float]] = field(default_factory=list)
    test: tuple[float, float] = (0.0, 0.0)


@dataclass
class Clock:
    """CPU-seconds of training: evaluations do not count."""

    began: float = field(default_factory=time.process_time)

    @property
    def seconds(self) -> float:
        return time.process_time() - self.began

    def without(self, action: Callable[[], Any]) -> Any:
        """Do something that does not count."""
        before = time.process_time()
        done = action()
        self.began += time.process_time() - before
        return done


def average_precision(source: Source, found: Sequence[Detections]) -> tuple[float, float]:
    """AP and AP50 of detections in a source's images, in the originals' pixels."""
    targets = [source.sample(i).without_pixels() for i in range(len(source))]
    numbers = precision(targets, found, source.categories).numbers
    return numbers["AP"], numbers["AP50"]


def ours(model: str, root: Path, size: int, seconds: float, splits: Splits, folder: Path) -> Peer:
    """A model of this framework's, or torchvision's in it."""
    peer = Peer(NAMES[model])
    overrides = [
        f"task.data.root={root}", f"task.data.size={size}", f"task.model={model}", "task.workers=0",
        "trainer.threads=1", "monitor.tensorboard=false", "trainer.checkpoint_every=0",
    ]  # fmt: skip
    marks: list[float] = []
    framework.train(
        "detection",
        steps=MEASURED,
        folder=folder / f"{model}_speed",
        overrides=[*overrides, "trainer.evaluate_every=0"],
        on_step=lambda step, estimate: marks.append(time.process_time()),
    )
    step_seconds = (marks[-1] - marks[WARM_UP]) / (MEASURED - 1 - WARM_UP)
    steps = max(POINTS, int(seconds / step_seconds))
    clocks: list[Clock] = []
    spent: list[float] = []

    def on_step(step: int, estimate: Any) -> None:
        if not clocks:
            clocks.append(Clock(time.process_time() - step_seconds))
        spent.append(clocks[0].seconds)

    def on_evaluation(step: int, metrics: dict[str, float]) -> None:
        # The clock stood still since the last step's end.
        clocks[0].began = time.process_time() - spent[-1]
        # The second one of a step is that of the test images.
        if not peer.curve or peer.curve[-1][0] < spent[-1]:
            peer.curve.append((spent[-1], metrics["AP"], metrics["AP50"]))

    run = framework.train(
        "detection",
        steps=steps,
        folder=folder / model,
        overrides=[*overrides, f"trainer.evaluate_every={-(-steps // POINTS)}"],
        on_step=on_step,
        on_evaluation=on_evaluation,
    )
    peer.steps, peer.seconds = steps, spent[-1]
    peer.parameters = sum(p.numel() for p in run.task.model.parameters())
    peer.test = run.metrics["AP"], run.metrics["AP50"]
    return peer


def ultralytics(root: Path, size: int, seconds: float, splits: Splits, folder: Path) -> Peer:
    """Ultralytics' nano by its own training, from random weights."""
    os.environ |= {"YOLO_OFFLINE": "true", "YOLO_VERBOSE": "False"}
    os.environ.setdefault("YOLO_CONFIG_DIR", str(folder / "settings"))
    from ultralytics import YOLO  # type: ignore[attr-defined,import-not-found,unused-ignore]

    peer = Peer(NAMES["ultralytics"])
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    data = folder / "yolo"
    write(data, "yolo", {name: Upright(part) for name, part in parts.items()})
    yaml = (data / "data.yaml").read_text()
    (data / "data.yaml").write_text(f"path: {data.resolve()}\n{yaml}")
    torch.set_num_threads(1)

    def train(epochs: int, **callbacks: Callable[[Any], None]) -> Any:
        model = YOLO("yolo26n.yaml")
        for event, callback in callbacks.items():
            model.add_callback(event, callback)
        model.train(
            data=str(data / "data.yaml"), epochs=epochs, imgsz=size, device="cpu", workers=0, pretrained=False,
            amp=False, plots=False, val=False, save=False, verbose=False, project=str(folder.resolve()),
            name="ultralytics", exist_ok=True,
        )  # fmt: skip
        return model

    def evaluate(network: Any, source: Source) -> tuple[float, float]:
        model = YOLO("yolo26n.yaml")
        model.model = network
        found = [detected(model, source.sample(i), size) for i in range(len(source))]
        return average_precision(source, found)

    marks: list[float] = []
    train(3, on_train_epoch_end=lambda trainer: marks.append(time.process_time()))
    epochs = max(POINTS, int(seconds / (marks[-1] - marks[-2])))
    clock: list[Clock] = []

    def on_epoch_end(trainer: Any) -> None:
        number = len(peer_epochs) + 1
        peer_epochs.append(number)
        if number % -(-epochs // POINTS) == 0 or number == epochs:
            import copy

            spent = clock[0].seconds
            network = clock[0].without(lambda: copy.deepcopy(trainer.ema.ema).float().eval())
            ap = clock[0].without(lambda: evaluate(network, splits.validation))
            peer.curve.append((spent, *ap))
            peer.seconds, networks[:] = spent, [network]

    peer_epochs: list[int] = []
    networks: list[Any] = []
    train(
        epochs,
        on_train_start=lambda trainer: clock.append(Clock()),
        on_train_epoch_end=on_epoch_end,
    )
    peer.steps = epochs * -(-len(splits.train) // 16)
    peer.parameters = sum(p.numel() for p in networks[0].parameters())
    peer.test = evaluate(networks[0], splits.test)
    return peer


def detected(model: Any, sample: Sample, size: int) -> Detections:
    """What a model of ultralytics' detects in a sample, in its original's pixels."""
    # Its arrays are blue, green, red.
    pixels = sample.image.permute(1, 2, 0).flip(-1).contiguous().numpy()
    (found,) = model.predict(
        pixels, imgsz=size, conf=0.001, max_det=100, verbose=False, device="cpu"
    )
    boxes = found.boxes
    one = Detections(boxes.xyxy.cpu().float(), boxes.conf.cpu().float(), boxes.cls.cpu().long())
    return one.scaled(sample.scale, sample.size)


class Upright:
    """A source whose resized images are the originals, for writing."""

    def __init__(self, source: Source) -> None:
        self.source, self.categories = source, source.categories

    def __len__(self) -> int:
        return len(self.source)

    def sample(self, index: int) -> Sample:
        from dataclasses import replace

        sample = self.source.sample(index)
        return replace(sample, size=(sample.image.shape[1], sample.image.shape[2]))


def figure(peers: Sequence[Peer]) -> Image:
    """AP on the validation images over CPU-seconds of training."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(6.4, 4), layout="constrained", dpi=100)
    axes = drawn.subplots()
    for peer in peers:
        axes.plot(
            *zip(*[(0.0, 0.0), *((s, ap) for s, ap, _ in peer.curve)], strict=True),
            "o-",
            label=peer.name,
        )
    axes.set(xlabel="CPU-seconds of training", ylabel="AP on the validation images", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return Image.from_figure("peers", drawn)


def table(peers: Sequence[Peer]) -> str:
    """What each reached on the test images, as Markdown."""
    head = "| from random weights | parameters | steps | CPU-seconds | AP | AP50 |\n|---|---|---|---|---|---|\n"
    rows = [
        f"| {peer.name} | {peer.parameters / 1e6:.1f} M | {peer.steps} | {peer.seconds:.0f} | {peer.test[0]:.3f} "
        f"| {peer.test[1]:.3f} |\n"
        for peer in peers
    ]
    return head + "".join(rows)


def parsed(arguments: Sequence[str]) -> tuple[Path, float, int, Path]:
    """The data's folder, CPU-seconds, the size of images, and the folder of what is written.

    Raises:
        SystemExit: other arguments, in one line, or none.
    """
    roots = [a for a in arguments if "=" not in a]
    given = {"seconds": "120", "size": "320", "output": "outputs/peers"}
    for name, _, value in (a.partition("=") for a in arguments if "=" in a):
        if name not in given:
            sys.exit(f"'{name}': expected {', '.join(given)}")
        given[name] = value
    if len(roots) != 1:
        sys.exit(__doc__)
    for name in ("seconds", "size"):
        if not given[name].isdecimal() or not int(given[name]):
            sys.exit(f"{name} = '{given[name]}': expected a whole number above 0")
    return Path(roots[0]), float(given["seconds"]), int(given["size"]), Path(given["output"])


def main(arguments: Sequence[str]) -> None:
    root, seconds, size, folder = parsed(arguments)
    torch.set_num_threads(1)
    splits = open_data(Data(root=str(root), size=size))
    peers = []
    for model in ("nano", "ssdlite"):
        peers.append(ours(model, root, size, seconds, splits, folder))
    if find_spec("ultralytics") is not None:
        peers.append(ultralytics(root, size, seconds, splits, folder))
    print(table(peers), end="")
    figure(peers).save(folder)
    (folder / "peers.md").write_text(table(peers))
    (folder / "peers.json").write_text(json.dumps([asdict(peer) for peer in peers]))
