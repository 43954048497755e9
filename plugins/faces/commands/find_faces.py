"""diffobj find_faces: where the faces of photographs are: diffobj find_faces detector=bundled input=FOLDER

    diffobj find_faces detector=bundled|mtcnn|RUN_FOLDER|FILE input=PICTURE_OR_FOLDER [pictures=FOLDER] [score=NUMBER]

Prints for each photograph a line of JSON: boxes in its own pixels, scores, landmarks and qualities, best first. With
`pictures=` the photographs are also written there with their faces marked; `score=` leaves out less certain ones. No
features are computed: whom a face shows is not looked at. `bundled` comes with this plugin and has never seen a person.
In Python: `plugins.faces.analysis.pipeline.FacePipeline.of` makes what finds faces, `.find("photo.jpg")`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from framework import UserError
from framework.commands.main import keyed
from plugins.faces.commands.face_run import number


def run(arguments: Sequence[str]) -> int:
    """Find the faces of each photograph."""
    options = keyed(arguments, ("detector", "input", "pictures", "score"))
    if not options.get("input"):
        raise UserError("which photographs? input=PICTURE or input=FOLDER")
    least = number(options, "score", 0.0)
    from framework.media import Image
    from plugins.faces.analysis.pipeline import FacePipeline
    from plugins.faces.data.photographs import readable_pictures, within
    from plugins.faces.evaluation.figures import photograph_with_detections
    from plugins.faces.tasks.scene_task import face_record

    faces = FacePipeline.of(detector=options.get("detector", "bundled"))
    source = Path(options["input"]).expanduser()
    folder = Path(options["pictures"]).expanduser() if options.get("pictures") else None
    for file, name, photograph in readable_pictures(source):
        found = faces.find(photograph).above(least)
        records = [face_record(found, k) for k in range(len(found))]
        print(json.dumps({"file": within(file, source), "faces": records}))
        if folder is not None:
            Image(name, photograph_with_detections(photograph, found)).save(folder)
    return 0
