"""diffobj export: write a trained detector as ONNX or torch.export: diffobj export run=RUN_FOLDER format=onnx

    diffobj export run=RUN_FOLDER [format=onnx|torch_export] [output=FILE] [height=N] [width=N] [checkpoint=best|last]
                   [images=50] [task.KEY=VALUE ...]

Without a format the suffix of the output decides: .onnx or .pt2; ONNX otherwise. The file takes images
`[batch, 3, height, width]` of float32 from 0 to 255, of any sides that are multiples of the model's size divisor unless
`height` or `width` fixes them, and returns boxes in pixels, scores and labels, best first. It is compared with the
model on `images` test images; one that computes something else is deleted. Runs of other plugins that can be exported,
such as those of faces, take `format` and `output` alone. In Python: `framework.Run.export`;
plugins/detection/export.py has the details, and the README a runner.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from framework.commands.run_arguments import load_run
from framework.errors import UserError, suggestion
from framework.run import Run


def run(arguments: Sequence[str]) -> int:
    """Load a run, write the file, and print what was written as JSON."""
    loaded, _, options = load_run(
        "export", arguments, ("format", "output", "height", "width", "images")
    )
    from plugins.detection.export import SUFFIXES, export_detector
    from plugins.detection.task import Detection

    if not isinstance(loaded.task, Detection):
        return export_other(loaded, options)
    suffixes = {suffix: format for format, suffix in SUFFIXES.items()}
    given = options.get("output")
    format = options.get("format") or suffixes.get(Path(given or "").suffix, "onnx")
    if format not in SUFFIXES:
        raise UserError(f"format = '{format}'; {suggestion(format, SUFFIXES)}")
    path = Path(given).expanduser() if given else loaded.folder / f"model{SUFFIXES[format]}"
    numbers = {
        key: whole(key, options[key]) for key in ("height", "width", "images") if key in options
    }
    written = export_detector(loaded.task, path, format=format, **numbers)
    report = {
        "file": str(written.path),
        "format": written.format,
        "input": ["batch", 3, written.height or "height", written.width or "width"],
        "categories": loaded.task.categories,
        "images compared": written.images,
        "largest difference in pixels": written.difference,
    }
    print(json.dumps(report))
    return 0


def export_other(loaded: Run, options: dict[str, str]) -> int:
    """Write a run of another plugin's task, which takes no options, where it can be exported at all."""
    unknown = sorted(options.keys() - {"output", "format"})
    if unknown:
        raise UserError(
            f"{unknown[0]} = '{options[unknown[0]]}': task '{loaded.settings.task.name}' is exported with output= alone"
        )
    suffix = {"onnx": ".onnx", "torch_export": ".pt2"}.get(options.get("format", "onnx"))
    if suffix is None:
        raise UserError(
            f"format = '{options['format']}'; {suggestion(options['format'], ['onnx', 'torch_export'])}"
        )
    given = options.get("output")
    path = Path(given).expanduser() if given else loaded.folder / f"model{suffix}"
    print(json.dumps({"file": str(loaded.export(path))}))
    return 0


def whole(key: str, text: str) -> int:
    """A whole number above 0."""
    if not (text.isdecimal() and int(text)):
        raise UserError(f"{key} = '{text}': expected a whole number above 0")
    return int(text)
