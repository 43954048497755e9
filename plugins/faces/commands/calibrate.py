"""diffobj calibrate: measure the threshold of a stated false acceptance rate: diffobj calibrate run=RUN input=FOLDER

    diffobj calibrate run=RUN_FOLDER input=FOLDER [far=0.01] [pairs=FILE] [checkpoint=best|last]

FOLDER holds a folder of pictures for each person; pairs=FILE takes the pairs of a list in the format of LFW's pairs.txt
instead of all pairs. The threshold is written to RUN_FOLDER/calibration.json with its FAR and its data; verify,
identify and cluster use it. On other people the FAR is at most the stated one, with 99 % confidence over people: the
pictures of a few people say little, however many pairs they make, so a FAR below 1 / (pairs of people) is refused (0.01
needs 15 people, 0.001 needs 46). People of whom a picture was trained on, or a copy of one (another format, size, cut
or light), are left out and reported: on them the threshold would be too loose.
In Python: `plugins.faces.analysis.analysis.FaceAnalysis.calibrate`, a method of the task that `framework.load` returns.
"""

from __future__ import annotations

from collections.abc import Sequence

from framework import UserError
from plugins.faces.commands.face_run import face_run, number


def run(arguments: Sequence[str]) -> int:
    """Measure the threshold and write the file."""
    with face_run("calibrate", arguments, ("input", "far", "pairs")) as used:
        if used.words:
            raise UserError(f"'{used.words[0]}': expected key=value")
        calibration = used.faces.calibrate(
            used.option("input"),
            far=number(used.options, "far", 0.01),
            pairs=used.options.get("pairs"),
        )
        print(calibration.model_dump_json())
        if used.faces.calibration_file is not None:
            print(used.faces.calibration_file.resolve())
    return 0
