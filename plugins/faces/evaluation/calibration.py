"""A threshold on cosines, measured at a stated false acceptance rate (FAR) on stated data, stored in the run's folder.

A threshold without its FAR and its data means nothing (one model's best threshold is .363 on one test set and .212 on
another), so there is no other way to get one.
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
    """A measured threshold and what it was measured on.

    Attributes:
        threshold: two faces count as one person's where their cosine is at least this.
        far: the requested fraction of accepted impostor pairs; tar: that of accepted genuine pairs.
        data: the folder of pictures; people, pictures, impostor_pairs, genuine_pairs: how many it was measured on.
        model: the fingerprint of the parameters that it is valid for.
        made: the day, in ISO format.
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
        """Write the file into the run's folder; returns its path."""
        path = run / FILE
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2), encoding="utf-8")
        return path


def load_calibration(run: Path, model: str) -> Calibration | None:
    """The run's calibration, or None where there is none.

    Args:
        model: the fingerprint of the parameters in use.

    Raises:
        UserError: it is damaged, or of other parameters.
    """
    path = run / FILE
    if not path.exists():
        return None
    try:
        calibration = Calibration(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: {error}; diffobj calibrate writes it again") from None
    if not (0 < calibration.far < 1 and calibration.data and -1 <= calibration.threshold <= 1):
        raise UserError(
            f"{path}: a threshold needs its FAR and its data; diffobj calibrate run={run}"
        )
    if calibration.model != model:
        raise UserError(f"{path} is of another checkpoint; diffobj calibrate run={run} again")
    return calibration


def need_calibration(run: Path, model: str) -> Calibration:
    """The run's calibration.

    Raises:
        UserError: there is none, and therefore no threshold.
    """
    calibration = load_calibration(run, model)
    if calibration is None:
        raise UserError(
            f"no threshold without data: first diffobj calibrate run={run} input=FOLDER_OF_PEOPLE far=0.01"
        )
    return calibration
