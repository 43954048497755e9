"""A threshold on cosines, found at a stated share of false acceptances on stated data, kept beside the run.

A threshold without its FAR and its data means nothing (one model's best threshold moves from .363 to .212 between two
test sets), so there is no other way to get one.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from framework import UserError

FILE = "calibration.json"


@dataclass(frozen=True)
class Calibration:
    """What was measured.

    Attributes:
        threshold: two faces are taken for one person's where their cosine is at least this.
        far: the share of impostor pairs that was asked for; tar: of genuine pairs that are accepted.
        data: the pictures that it was measured on; impostor_pairs, genuine_pairs: how many there were.
        model: the fingerprint of the parameters that it holds for.
    """

    threshold: float
    far: float
    tar: float
    data: str
    people: int
    pictures: int
    impostor_pairs: int
    genuine_pairs: int
    model: str
    made: str

    def save(self, run: Path) -> Path:
        path = run / FILE
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2), encoding="utf-8")
        return path


def load_calibration(run: Path, model: str) -> Calibration | None:
    """The run's calibration, or None where there is none.

    Raises:
        UserError: it is damaged, or of other parameters than these.
    """
    path = run / FILE
    if not path.exists():
        return None
    try:
        found = Calibration(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: {error}; diffobj calibrate makes it anew") from None
    if not (0 < found.far < 1 and found.data and -1 <= found.threshold <= 1):
        raise UserError(
            f"{path}: a threshold needs its FAR and its data; diffobj calibrate run={run}"
        )
    if found.model != model:
        raise UserError(f"{path} is of another checkpoint; diffobj calibrate run={run} again")
    return found


def need_calibration(run: Path, model: str) -> Calibration:
    """The run's calibration.

    Raises:
        UserError: there is none, and so no threshold.
    """
    found = load_calibration(run, model)
    if found is None:
        raise UserError(
            f"no threshold without data: first diffobj calibrate run={run} input=FOLDER_OF_PEOPLE far=0.01"
        )
    return found
