"""diffobj cluster: group a folder's faces by person: diffobj cluster run=RUN input=FOLDER

    diffobj cluster run=RUN_FOLDER input=FOLDER

The closest groups are joined first, as long as the mean cosine between two groups is at least the threshold of the
run's calibration (diffobj calibrate). Prints the groups as JSON, the largest first; nothing is moved or copied.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from framework import UserError
from plugins.faces.commands.face_run import load_face_run


def run(arguments: Sequence[str]) -> int:
    """Embed every face of the folder and group them."""
    used = load_face_run("cluster", arguments, ("input",))
    import torch

    from plugins.faces.data.photographs import picture_files, read_photograph
    from plugins.faces.evaluation.calibration import need_calibration
    from plugins.faces.evaluation.clustering import clusters

    folder = Path(used.option("input")).expanduser()
    if not folder.is_dir():
        raise UserError(f"input = '{folder}': expected a folder of pictures")
    limit = need_calibration(used.run.folder, used.task.fingerprint())
    names: list[str] = []
    parts: list[torch.Tensor] = []
    with used.run.in_use():
        for file in picture_files(folder):
            try:
                embeddings = used.task.faces_in(read_photograph(file))["embeddings"]
            except UserError as error:
                print(f"left out: {error}", file=sys.stderr)
                continue
            names += [file.name] * len(embeddings)
            parts.append(embeddings)
    if not names:
        raise UserError(f"input = '{folder}': no face in any picture of it")
    for number, members in enumerate(clusters(torch.cat(parts), limit.threshold)):
        print(
            json.dumps({"group": number, "faces": [names[m] for m in members]}, ensure_ascii=False)
        )
    return 0
