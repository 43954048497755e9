"""diffobj protocol: a data set's own protocol, such as LFW's folds: diffobj protocol run=RUN name=lfw input=FOLDER

    diffobj protocol run=RUN_FOLDER name=lfw|cfp|ijb|wider input=FOLDER [detector=...]
    diffobj protocol name=wider detector=bundled input=FOLDER

Prints the protocol's numbers as JSON, on your own copy of the data set in its own layout: LFW's ten folds, CFP's splits
of frontal and profile pictures, templates as in IJB-B and IJB-C, WIDER FACE's easy, medium and hard faces. Nothing is
downloaded; a picture that was trained on stops it.
In Python: `plugins.faces.analysis.analysis.FaceAnalysis.protocol`, a method of the task that `framework.load` returns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from framework import UserError
from framework.commands.main import keyed
from plugins.faces.commands.face_run import face_run


def run(arguments: Sequence[str]) -> int:
    """Measure and print."""
    if any(a.startswith(("run=", "embedder=")) for a in arguments):
        with face_run("protocol", arguments, ("name", "input")) as used:
            if used.words:
                raise UserError(f"'{used.words[0]}': expected key=value")
            numbers = used.faces.protocol(used.option("name"), used.option("input"))
    else:
        options = keyed(arguments, ("run", "name", "input", "detector", "embedder"))
        missing = [key for key in ("name", "input", "detector") if not options.get(key)]
        if missing:
            raise UserError(
                f"'{missing[0]}=...' is missing: diffobj protocol run=RUN name=lfw input=FOLDER"
            )
        from plugins.faces.analysis.pipeline import FacePipeline

        faces = FacePipeline.of(detector=options["detector"])
        numbers = faces.protocol(options["name"], options["input"])
    print(json.dumps({name: round(value, 6) for name, value in numbers.items()}))
    return 0
