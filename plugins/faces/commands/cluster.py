"""diffobj cluster: group a folder's faces by person: diffobj cluster run=RUN input=FOLDER

    diffobj cluster run=RUN_FOLDER input=FOLDER

The closest groups are joined first, as long as the mean cosine between two groups is at least the threshold of the
run's calibration (diffobj calibrate). Prints the groups as JSON, the largest first; nothing is moved or copied.
In Python: `plugins.faces.analysis.analysis.FaceAnalysis.cluster`, a method of the task that `framework.load` returns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from framework import UserError
from plugins.faces.commands.face_run import face_run


def run(arguments: Sequence[str]) -> int:
    """Embed every face of the folder and group them."""
    with face_run("cluster", arguments, ("input",)) as used:
        if used.words:
            raise UserError(f"'{used.words[0]}': expected key=value")
        for number, names in enumerate(used.faces.cluster(used.option("input"))):
            print(json.dumps({"group": number, "faces": names}, ensure_ascii=False))
    return 0
