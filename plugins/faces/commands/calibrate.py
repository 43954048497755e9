"""diffobj calibrate: find the threshold for a stated share of false acceptances: diffobj calibrate run=RUN input=FOLDER

    diffobj calibrate run=RUN_FOLDER input=FOLDER [far=0.01] [pairs=FILE] [checkpoint=best|last]

FOLDER holds a folder of pictures for each person; pairs=FILE takes the pairs of a list in the form of LFW's pairs.txt
instead of all pairs. The threshold is written to RUN_FOLDER/calibration.json with its FAR and its data, and is what
verify, identify and cluster go by. A FAR below 1 / (number of impostor pairs) cannot be measured and is refused. People
of whom a picture was learned from are left out, and told: on them the threshold would be too loose.
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
from plugins.faces.commands.using import Use, face_of, use

if TYPE_CHECKING:
    from plugins.faces.evaluation.verification import Roc


def run(arguments: Sequence[str]) -> int:
    """Measure and write down."""
    given = use("calibrate", arguments, ("input", "far", "pairs"))
    far, folder = share(given.option("far", "0.01")), Path(given.option("input")).expanduser()
    if given.words:
        raise UserError(f"'{given.words[0]}': expected key=value")
    from plugins.faces.evaluation.calibration import Calibration

    with given.run.in_use():
        pairs = given.options.get("pairs")
        curve, people, pictures = (
            all_pairs_of(given, folder)
            if pairs is None
            else listed_pairs_of(given, folder, Path(pairs))
        )
    threshold = curve.threshold_at(far)
    found = Calibration(
        threshold=threshold,
        far=far,
        tar=curve.tar_at(far),
        data=str(folder.resolve()),
        people=people,
        pictures=pictures,
        impostor_pairs=int(curve.impostors),
        genuine_pairs=int(curve.genuines),
        model=given.task.fingerprint(),
        made=datetime.date.today().isoformat(),
    )
    path = found.save(given.run.folder)
    print(json.dumps(dataclasses.asdict(found)))
    print(path.resolve())
    return 0


def share(text: str) -> float:
    try:
        far = float(text)
    except ValueError:
        far = -1.0
    if not 0 < far < 1:
        raise UserError(f"far = '{text}': expected a share between 0 and 1, such as 0.01")
    return far


def all_pairs_of(given: Use, folder: Path) -> tuple[Roc, int, int]:
    """The curve of all pairs in a folder of people, and how many people and pictures there are."""
    import torch

    from plugins.faces.data.photographs import people_files
    from plugins.faces.evaluation.verification import all_pairs

    people = people_files(folder, "input")
    seen = learned_people(given, folder, people)
    found, labels = [], []
    for number, (person, files) in enumerate(people.items()):
        for file in [] if person in seen else files:
            try:
                found.append(face_of(given.task, file))
                labels.append(number)
            except UserError as error:
                print(f"left out: {error}", file=sys.stderr)
    if not found:
        raise UserError(f"input = '{folder}': no face in any folder of it")
    pairs = all_pairs(torch.stack(found), torch.tensor(labels))
    return pairs.roc(), len(set(labels)), len(labels)


def learned_people(given: Use, folder: Path, people: Mapping[str, Iterable[Path]]) -> set[str]:
    """Those of whom a picture was learned from: the network knows them better than anybody it will meet.

    Raises:
        UserError: all of them were.
    """
    seen = {person for person, files in people.items() if any(map(given.has_seen, files))}
    if seen and len(people) - len(seen) < 2:
        raise UserError(
            f"input = '{folder}': {len(seen)} of {len(people)} people were learned from; "
            "expected two or more who were not"
        )
    if seen:
        print(f"left out: {len(seen)} people who were learned from", file=sys.stderr)
    return seen


def listed_pairs_of(given: Use, folder: Path, listing: Path) -> tuple[Roc, int, int]:
    """The curve of the pairs of a list, and how many people and pictures are in them."""
    import torch

    from plugins.faces.data.lists import numbered, read_pairs
    from plugins.faces.evaluation.verification import pairs_roc

    pairs = read_pairs(listing)
    wanted = {(p.first, p.first_number) for p in pairs} | {
        (p.second, p.second_number) for p in pairs
    }
    files: dict[str, dict[int, Path]] = {}
    for name, number in sorted(wanted):
        files.setdefault(name, {})[number] = numbered(folder, name, number)
    seen = learned_people(given, folder, {name: own.values() for name, own in files.items()})
    pairs = [p for p in pairs if not {p.first, p.second} & seen]
    known = {
        key: face_of(given.task, files[key[0]][key[1]])
        for key in sorted(wanted)
        if key[0] not in seen
    }
    cosines = torch.stack(
        [known[p.first, p.first_number] @ known[p.second, p.second_number] for p in pairs]
    )
    curve = pairs_roc(cosines, torch.tensor([p.same for p in pairs]))
    return curve, len({name for name, _ in known}), len(known)
