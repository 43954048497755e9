"""Whether an exported detector is as good as the run, end to end and at every aspect ratio.

    python -m experiments.detection_export RUN_FOLDER [images=60]

exports the run as ONNX and as torch.export, lays its generated test images on backgrounds of 1:1, 4:3, 16:9 and 9:16,
detects in them by `task.detect` and by the README's runner over each file, from photograph to boxes, and prints the
average precisions and their differences.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

import framework
from experiments.command import given_arguments
from framework.plugin import ROOT
from framework.randomness import key
from plugins.detection.data.generated import Generated, ground
from plugins.detection.evaluation.metrics import precision
from plugins.detection.export_formats import EXTRA_FILE
from plugins.detection.sample import Detections, Sample
from plugins.detection.task import Detection

# Heights and widths over the side of a generated image.
RATIOS = {"1:1": (1.0, 1.0), "4:3": (1.2, 1.6), "16:9": (1.0, 16 / 9), "9:16": (16 / 9, 1.0)}
Runner = Callable[[Any, NDArray[numpy.uint8]], tuple[Any, Any, list[str]]]


class Exported:
    """torch.export's file behind the interface of onnxruntime's session."""

    def __init__(self, path: Path) -> None:
        extra = {EXTRA_FILE: ""}
        self.module = torch.export.load(path, extra_files=extra).module(check_guards=False)
        self.custom_metadata_map = {"diffobj": extra[EXTRA_FILE]}

    def get_modelmeta(self) -> Exported:
        return self

    def run(self, names: None, inputs: dict[str, Any]) -> list[Any]:
        with torch.no_grad():
            return [part.numpy() for part in self.module(torch.from_numpy(inputs["images"]))]


def runner() -> Runner:
    """The README's function that runs an exported file."""
    text = (ROOT / "plugins" / "detection" / "README.md").read_text()
    (code,) = [c for c in re.findall(r"```python\n(.*?)```", text, re.S) if "onnxruntime" in c]
    names: dict[str, Any] = {}
    exec(code.replace("import onnxruntime\n", "").rpartition("\nsession = ")[0], names)
    found: Runner = names["detect"]
    return found


def photograph(sample: Sample, ratio: tuple[float, float]) -> Sample:
    """A square sample somewhere on a larger background."""
    side = sample.size[0]
    height, width = (round(side * part) for part in ratio)
    random = numpy.random.default_rng(key(0, "detection_export", 0, sample.image_id))
    canvas = ground(random, max(height, width))[:height, :width].clip(0, 255).astype(numpy.uint8)
    top, left = (int(random.integers(0, room + 1)) for room in (height - side, width - side))
    canvas[top : top + side, left : left + side] = sample.image.permute(1, 2, 0).numpy()
    image = torch.from_numpy(canvas).permute(2, 0, 1).contiguous()
    boxes = sample.boxes + torch.tensor([left, top, left, top])
    return replace(sample, image=image, boxes=boxes, size=(height, width))


def by_file(detect: Runner, session: Any, sample: Sample, categories: Sequence[str]) -> Detections:
    boxes, scores, names = detect(session, sample.image.permute(1, 2, 0).numpy())
    labels = torch.tensor([categories.index(name) for name in names], dtype=torch.long)
    return Detections(torch.tensor(boxes).float().view(-1, 4), torch.tensor(scores).float(), labels)


def main(folder: Path, *, images: int = 60) -> None:
    import onnxruntime

    run = framework.load(folder, overrides=["task.display_threshold=0.001"])
    task = run.task
    assert isinstance(task, Detection)
    detect = runner()
    suffixes = {"ONNX": ".onnx", "torch.export": ".pt2"}
    paths = {name: run.export(folder / f"export{suffix}") for name, suffix in suffixes.items()}
    sessions = {
        "ONNX": onnxruntime.InferenceSession(paths["ONNX"]),
        "torch.export": Exported(paths["torch.export"]),
    }
    source = Generated("test", images, task.size)
    print("| photographs | AP of predict | AP of ONNX | AP of torch.export | largest difference |")
    print("|---|---|---|---|---|")
    for name, ratio in RATIOS.items():
        samples = [photograph(source.sample(i), ratio) for i in range(images)]
        found = {"predict": [task.detect(sample.image) for sample in samples]}
        for kind, session in sessions.items():
            found[kind] = [by_file(detect, session, s, task.categories) for s in samples]
        ap = {
            kind: precision(samples, list(part), task.categories).numbers["AP"]  # type: ignore[arg-type]
            for kind, part in found.items()
        }
        apart = max(abs(value - ap["predict"]) for value in ap.values())
        numbers = " | ".join(f"{value:.5f}" for value in ap.values())
        print(f"| {name} | {numbers} | {apart:.2g} |", flush=True)
    print(json.dumps({"run": str(folder), "images": images}))


if __name__ == "__main__":
    given = given_arguments(__doc__)
    if not given:
        sys.exit(__doc__)
    numbers = {key: int(value) for key, _, value in (a.partition("=") for a in given[1:])}
    main(Path(given[0]), **numbers)
