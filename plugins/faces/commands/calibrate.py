"""diffobj calibrate: measure the threshold of a stated false acceptance rate: diffobj calibrate run=RUN input=FOLDER

    diffobj calibrate run=RUN_FOLDER input=FOLDER [far=0.01] [pairs=FILE] [checkpoint=best|last]

FOLDER holds a folder of pictures for each person; pairs=FILE takes the pairs of a list in the format of LFW's pairs.txt
instead of all pairs. The threshold is written to RUN_FOLDER/calibration.json with its FAR and its data; verify,
identify and cluster use it. A FAR below 1 / (number of impostor pairs) cannot be measured and is refused. People of
whom a picture was trained on are left out and reported: on them the threshold would be too loose.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from framework import UserError
from plugins.faces.commands.face_run import FaceRun, embedding_of, load_face_run

if TYPE_CHECKING:
    from plugins.faces.evaluation.verification import Roc


def run(arguments: Sequence[str]) -> int:
    """Measure the threshold and write the file."""
    used = load_face_run("calibrate", arguments, ("input", "far", "pairs"))
    far, folder = fraction(used.option("far", "0.01")), Path(used.option("input")).expanduser()
    if used.words:
        raise UserError(f"'{used.words[0]}': expected key=value")
    from plugins.faces.evaluation.calibration import Calibration

    with used.run.in_use():
        pairs = used.options.get("pairs")
        curve, people, pictures = (
            all_pairs_curve(used, folder)
            if pairs is None
            else listed_pairs_curve(used, folder, Path(pairs))
        )
    threshold = curve.threshold_at(far)
    calibration = Calibration(
        threshold=threshold,
        far=far,
        tar=curve.tar_at(far),
        data=str(folder.resolve()),
        people=people,
        pictures=pictures,
        impostor_pairs=int(curve.impostors),
        genuine_pairs=int(curve.genuines),
        model=used.task.fingerprint(),
        made=datetime.date.today().isoformat(),
    )
    path = calibration.save(used.run.folder)
    print(json.dumps(dataclasses.asdict(calibration)))
    print(path.resolve())
    return 0


def fraction(text: str) -> float:
    """A FAR from the command line."""
    try:
        far = float(text)
    except ValueError:
        far = -1.0
    if not 0 < far < 1:
        raise UserError(f"far = '{text}': expected a fraction between 0 and 1, such as 0.01")
    return far


def all_pairs_curve(used: FaceRun, folder: Path) -> tuple[Roc, int, int]:
    """The ROC of all pairs in a folder of people, and the numbers of people and pictures."""
    import torch

    from plugins.faces.data.photographs import people_files
    from plugins.faces.evaluation.verification import all_pairs

    people = people_files(folder, "input")
    seen = training_people(used, folder, people)
    embeddings, labels = [], []
    for number, (person, files) in enumerate(people.items()):
        for file in [] if person in seen else files:
            try:
                embeddings.append(embedding_of(used.task, file))
                labels.append(number)
            except UserError as error:
                print(f"left out: {error}", file=sys.stderr)
    if not embeddings:
        raise UserError(f"input = '{folder}': no face in any folder of it")
    pairs = all_pairs(torch.stack(embeddings), torch.tensor(labels))
    return pairs.roc(), len(set(labels)), len(labels)


def training_people(used: FaceRun, folder: Path, people: Mapping[str, Iterable[Path]]) -> set[str]:
    """The people of whom a picture was trained on: the network knows them better than people it will meet.

    Raises:
        UserError: fewer than two are left.
    """
    seen = {person for person, files in people.items() if any(map(used.has_seen, files))}
    if seen and len(people) - len(seen) < 2:
        raise UserError(
            f"input = '{folder}': {len(seen)} of {len(people)} people were trained on; "
            "expected two or more who were not"
        )
    if seen:
        print(f"left out: {len(seen)} people who were trained on", file=sys.stderr)
    return seen


def listed_pairs_curve(used: FaceRun, folder: Path, listing: Path) -> tuple[Roc, int, int]:
    """The ROC of a list's pairs, and the numbers of people and pictures in them."""
    import torch

    from plugins.faces.data.lists import lfw_picture, read_pairs
    from plugins.faces.evaluation.verification import pairs_roc

    pairs = read_pairs(listing)
    first = {(p.first, p.first_number) for p in pairs}
    pictures = sorted(first | {(p.second, p.second_number) for p in pairs})
    files: dict[str, dict[int, Path]] = {}
    for name, number in pictures:
        files.setdefault(name, {})[number] = lfw_picture(folder, name, number)
    seen = training_people(
        used, folder, {name: numbered.values() for name, numbered in files.items()}
    )
    pairs = [p for p in pairs if not {p.first, p.second} & seen]
    known = {
        key: embedding_of(used.task, files[key[0]][key[1]])
        for key in pictures
        if key[0] not in seen
    }
    cosines = torch.stack(
        [known[p.first, p.first_number] @ known[p.second, p.second_number] for p in pairs]
    )
    curve = pairs_roc(cosines, torch.tensor([p.same for p in pairs]))
    return curve, len({name for name, _ in known}), len(known)
