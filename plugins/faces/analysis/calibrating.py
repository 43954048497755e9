"""A calibration measured on a folder of people, without those who were trained on."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from framework import UserError
from plugins.faces.data.lists import LfwPair, lfw_picture, read_pairs
from plugins.faces.data.photographs import people_files, read_photograph
from plugins.faces.evaluation.calibration import Calibration, check_rate
from plugins.faces.evaluation.false_acceptance import (
    CONFIDENCE,
    Impostors,
    impostors,
    listed_impostors,
)
from plugins.faces.evaluation.identification import identification_rates

if TYPE_CHECKING:
    from plugins.faces.analysis.analysis import FaceAnalysis


class Measured(NamedTuple):
    """The impostor pairs, each person's genuine cosines, and all embeddings `[N, D]` of people `[N]`."""

    impostors: Impostors
    genuine: list[Tensor]
    embeddings: Tensor
    people: Tensor


def calibrated(
    faces: FaceAnalysis, folder: Path, far: float, pairs: str | Path | None
) -> Calibration:
    """A threshold whose FAR is at most `far` on other people; see `false_acceptance`."""
    check_rate("far", far)
    listing = None if pairs is None else Path(pairs).expanduser()
    measured = all_pairs(faces, folder) if listing is None else listed_pairs(faces, folder, listing)
    threshold = measured.impostors.threshold_at(far)
    genuine = [cosines for cosines in measured.genuine if len(cosines)]
    accepted = [float((cosines >= threshold).double().mean()) for cosines in genuine]
    curve = measured.impostors.curve(measured.impostors.lowest_far())
    return Calibration(
        threshold=threshold,
        far=far,
        confidence=CONFIDENCE,
        far_estimate=measured.impostors.far_at(threshold),
        far_interval=measured.impostors.interval_at(threshold),
        tar=sum(accepted) / max(1, len(accepted)),
        data=str(folder.resolve()),
        people=measured.impostors.people,
        pictures=len(measured.people),
        person_pairs=measured.impostors.person_pairs,
        impostor_pairs=measured.impostors.cosines,
        genuine_pairs=sum(len(cosines) for cosines in genuine),
        model=faces.fingerprint(),
        made=datetime.date.today().isoformat(),
        thresholds=sorted({*curve, (far, threshold)}),
        identification=identification_rates(measured.embeddings, measured.people),
    )


def all_pairs(faces: FaceAnalysis, folder: Path) -> Measured:
    """All pairs in a folder of people."""
    people = people_files(folder, "input")
    seen = training_people(faces, folder, people)
    embeddings, labels = [], []
    for number, (person, files) in enumerate(people.items()):
        for file in [] if person in seen else files:
            try:
                embeddings.append(faces.best_face(file).embedding)
                labels.append(number)
            except UserError as error:
                print(f"left out: {error}", file=sys.stderr)
    if not embeddings:
        raise UserError(f"input = '{folder}': no face in any folder of it")
    stacked, who = torch.stack(embeddings), torch.tensor(labels)
    return Measured(impostors(stacked, who), genuine_cosines(stacked, who), stacked, who)


def genuine_cosines(embeddings: Tensor, people: Tensor) -> list[Tensor]:
    """The cosines of each person's pairs of pictures."""
    found = []
    for person in people.unique():
        mine = embeddings[people == person]
        upper, lower = torch.triu_indices(len(mine), len(mine), 1)
        found.append((mine[upper] * mine[lower]).sum(1))
    return found


def training_people(
    faces: FaceAnalysis, folder: Path, people: Mapping[str, Iterable[Path]]
) -> set[str]:
    """The people of whom a picture, or a copy of one, was trained on: on them a threshold would be too loose.

    Raises:
        UserError: fewer than two are left.
    """
    seen = {
        person for person, files in people.items() if any(has_seen(faces, file) for file in files)
    }
    if seen and len(people) - len(seen) < 2:
        raise UserError(
            f"input = '{folder}': {len(seen)} of {len(people)} people were trained on; "
            "expected two or more who were not"
        )
    if seen:
        print(f"left out: {len(seen)} people who were trained on", file=sys.stderr)
    return seen


def has_seen(faces: FaceAnalysis, file: Path) -> bool:
    """Whether a picture was trained on; one that cannot be read was not."""
    try:
        return faces.has_seen(read_photograph(file))
    except UserError:
        return False


def listed_pairs(faces: FaceAnalysis, folder: Path, listing: Path) -> Measured:
    """The pairs of a list."""
    pairs = read_pairs(listing)
    pictures = sorted(
        {(p.first, p.first_number) for p in pairs} | {(p.second, p.second_number) for p in pairs}
    )
    files = {picture: lfw_picture(folder, *picture) for picture in pictures}
    by_person: dict[str, list[Path]] = {}
    for (name, _), file in files.items():
        by_person.setdefault(name, []).append(file)
    seen = training_people(faces, folder, by_person)
    known: dict[tuple[str, int], Tensor] = {}
    for (name, number), file in files.items():
        if name not in seen:
            try:
                known[name, number] = faces.best_face(file).embedding
            except UserError as error:
                print(f"left out: {error}", file=sys.stderr)
    kept = [p for p in pairs if ends(p)[0] in known and ends(p)[1] in known]
    cosines = [float(known[ends(p)[0]] @ known[ends(p)[1]]) for p in kept]
    different = [(p, cosine) for p, cosine in zip(kept, cosines, strict=True) if not p.same]
    genuine: dict[str, list[float]] = {}
    for p, cosine in zip(kept, cosines, strict=True):
        if p.same:
            genuine.setdefault(p.first, []).append(cosine)
    names = {name: k for k, name in enumerate(sorted({name for name, _ in known}))}
    return Measured(
        listed_impostors(
            torch.tensor([cosine for _, cosine in different]),
            [p.first for p, _ in different],
            [p.second for p, _ in different],
        ),
        [torch.tensor(values) for values in genuine.values()],
        torch.stack(list(known.values())) if known else torch.zeros(0, 2),
        torch.tensor([names[name] for name, _ in known]),
    )


def ends(pair: LfwPair) -> tuple[tuple[str, int], tuple[str, int]]:
    """The two pictures of a pair."""
    return (pair.first, pair.first_number), (pair.second, pair.second_number)
