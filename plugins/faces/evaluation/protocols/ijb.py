"""Verification of templates as in IJB-B and IJB-C: sets of pictures of one person, stills and frames of videos.

    *_face_tid_mid.txt          "PICTURE TEMPLATE MEDIUM"; frames of one video share their medium
    *_template_pair_label.txt   "TEMPLATE TEMPLATE 1 or 0"

in the folder or in `meta/`, and the pictures in `loose_crop/` or the folder. A template's embedding is the mean over
its media of the mean over each medium's pictures, scaled to norm 1, so that a long video counts no more than a still.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from framework import UserError
from plugins.detection.data.inside import inside
from plugins.faces.data.lists import read_lines
from plugins.faces.evaluation.protocols.folds import cosine, embedded
from plugins.faces.evaluation.verification import pairs_roc
from plugins.faces.models.networks import unit

if TYPE_CHECKING:
    from plugins.faces.analysis.analysis import FaceAnalysis

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


class Shot(NamedTuple):
    """A picture, its template and its medium."""

    file: Path
    template: str
    medium: str


def measured(faces: FaceAnalysis, folder: Path) -> dict[str, float]:
    """EER and TAR at each FAR that the pairs can measure."""
    shots = read_shots(folder)
    embeddings = embedded(faces, [shot.file for shot in shots])
    means = templates(shots, embeddings)
    pairs = read_template_pairs(folder, {shot.template for shot in shots})
    cosines = torch.tensor([cosine(means.get(a), means.get(b)) for a, b, _ in pairs])
    curve = pairs_roc(cosines, torch.tensor([same for *_, same in pairs], dtype=torch.bool))
    metrics = {"eer": curve.eer()}
    for far in FARS:
        if curve.impostors * far >= 1:
            metrics[f"tar_at_far_{far:g}"] = curve.tar_at(far)
    return metrics | {
        "templates": float(len({shot.template for shot in shots})),
        "genuine_pairs": curve.genuines,
        "impostor_pairs": curve.impostors,
        "pictures_without_face": float(len({shot.file for shot in shots} - embeddings.keys())),
    }


def templates(shots: list[Shot], embeddings: dict[Path, Tensor]) -> dict[str, Tensor]:
    """The embedding of each template of which a face was detected."""
    media: dict[tuple[str, str], list[Tensor]] = {}
    for shot in shots:
        if shot.file in embeddings:
            media.setdefault((shot.template, shot.medium), []).append(embeddings[shot.file])
    means: dict[str, list[Tensor]] = {}
    for (template, _), several in media.items():
        means.setdefault(template, []).append(torch.stack(several).mean(0))
    return {template: unit(torch.stack(several).mean(0)) for template, several in means.items()}


def read_shots(folder: Path) -> list[Shot]:
    """The pictures with their templates."""
    pictures = folder / "loose_crop" if (folder / "loose_crop").is_dir() else folder
    listing = listed(folder, "_face_tid_mid.txt")
    shots = []
    for number, line in enumerate(read_lines(listing), 1):
        words = line.split()
        file = inside(pictures, pictures, words[0])
        if len(words) != 3 or file is None:
            raise UserError(
                f"{listing}, line {number}: '{line}'; expected 'PICTURE TEMPLATE MEDIUM', the picture in {pictures}"
            )
        shots.append(Shot(file, words[1], words[2]))
    return shots


def read_template_pairs(folder: Path, known: set[str]) -> list[tuple[str, str, bool]]:
    """The pairs of templates and whether they are of one person; both kinds are there."""
    listing = listed(folder, "_template_pair_label.txt")
    pairs = []
    for number, line in enumerate(read_lines(listing), 1):
        words = line.split()
        if len(words) != 3 or words[2] not in ("0", "1") or not set(words[:2]) <= known:
            raise UserError(
                f"{listing}, line {number}: '{line}'; expected 'TEMPLATE TEMPLATE 1' or '... 0' of known ones"
            )
        pairs.append((words[0], words[1], words[2] == "1"))
    if len({same for *_, same in pairs}) < 2:
        raise UserError(f"{listing}: expected pairs of one person and of two people")
    return pairs


def listed(folder: Path, ending: str) -> Path:
    """The only list with this ending."""
    found = sorted([*folder.glob(f"*{ending}"), *(folder / "meta").glob(f"*{ending}")])
    if len(found) != 1:
        raise UserError(
            f"input = '{folder}': {len(found)} files *{ending}; expected one, in it or in meta/"
        )
    return found[0]
