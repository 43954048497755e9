"""A threshold on cosines whose false acceptance rate (FAR) is bounded on stated people, stored in the run's folder.

A threshold without its FAR and its data means nothing (one model's best threshold is .363 on one test set and .212 on
another), so there is no other way to get one.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from framework import UserError
from framework.atomic import write_atomically

FILE = "calibration.json"
MAX_BYTES = 1_000_000

Rate = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Cosine = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Number = Annotated[int, Field(ge=0, le=10**15)]


class IdentificationRate(BaseModel):
    """How identification does in galleries of one size, measured on the people of a calibration.

    Attributes:
        gallery: people in it; fpir: how often somebody who is not in it is taken for anyone of it.
        threshold: with this FPIR; fnir: how often somebody who is in it is not recognised as themselves.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    gallery: Annotated[int, Field(ge=1, le=10**9)]
    fpir: Rate
    threshold: Cosine
    fnir: Share


class Calibration(BaseModel):
    """A threshold and what it was measured on.

    Attributes:
        threshold: two faces count as one person's where their cosine is at least this.
        far: the stated FAR, which the FAR on other people is at most, with this `confidence`; far_estimate: the
            fraction of these people's impostor pairs that reach the threshold, with its 95 % interval over people.
        tar: the fraction of accepted genuine pairs, the mean over people.
        data: the folder of pictures; people, pictures, person_pairs, impostor_pairs, genuine_pairs: how many it was
            measured on.
        model: the fingerprint of the parameters that it is valid for.
        made: the day, in ISO format.
        thresholds: (FAR, threshold) from the lowest FAR that these people can bound, thresholds falling.
        identification: false negatives at stated false positives, for galleries of several sizes.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    threshold: Cosine
    far: Rate
    confidence: Rate
    far_estimate: Share
    far_interval: tuple[Share, Share]
    tar: Share
    data: Annotated[str, Field(min_length=1, max_length=10_000)]
    people: Number
    pictures: Number
    person_pairs: Number
    impostor_pairs: Number
    genuine_pairs: Number
    model: Annotated[str, Field(pattern=r"^[ -~]{1,200}$")]
    made: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
    thresholds: Annotated[list[tuple[Rate, Cosine]], Field(min_length=1, max_length=1000)]
    identification: Annotated[list[IdentificationRate], Field(max_length=1000)]

    def save(self, path: Path) -> None:
        """Write the file."""
        write_atomically(path, self.model_dump_json(indent=2).encode())

    def identification_threshold(self, fpir: float, gallery: int) -> float:
        """The threshold for `gallery` people, of whom somebody else is taken for anyone at this rate at most.

        A face is compared with everybody, so each comparison may fail at the rate fpir / gallery (the union bound).

        Raises:
            UserError: the calibration's people are too few for this rate and size.
        """
        check_rate("fpir", fpir)
        each = fpir / gallery
        fitting = [threshold for far, threshold in self.thresholds if far <= each * (1 + 1e-9)]
        if not fitting:
            from plugins.faces.evaluation.false_acceptance import people_for

            lowest = math.ceil(self.thresholds[0][0] * gallery * 1e4) / 1e4
            hope = f"the lowest here is fpir={lowest:g}" if lowest < 1 else "none is possible here"
            raise UserError(
                f"fpir = {fpir:g} in a gallery of {gallery:,} needs a calibration on {people_for(each):,} people, "
                f"it was on {self.people:,}: {hope}"
            )
        return min(fitting)


def is_between(value: object, low: float, high: float) -> bool:
    """Whether it is a number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return low <= value <= high


def check_rate(key: str, rate: object) -> None:
    """Refuse what is no rate.

    Raises:
        UserError: no number above 0 and below 1.
    """
    if not is_between(rate, 0, 1) or rate in (0, 1):
        raise UserError(f"{key} = {rate!r}: expected a fraction between 0 and 1, such as 0.01")


def load_calibration(path: Path, model: str) -> Calibration | None:
    """A calibration's file, or None where there is none.

    Args:
        model: the fingerprint of the parameters in use.

    Raises:
        UserError: it is damaged, of an earlier form, or of other parameters.
    """
    if not path.exists():
        return None
    again = "diffobj calibrate writes it again"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: more than {MAX_BYTES:,} bytes; {again}")
        calibration = Calibration.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "file"
        raise UserError(f"{path}: {ascii(place[:80])[1:-1]}: {first['msg']}; {again}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {again}") from None
    if calibration.model != model:
        raise UserError(f"{path} is of another checkpoint; {again}")
    return calibration


def no_calibration(run: Path | None) -> UserError:
    """Why there is no threshold."""
    return UserError(
        f"no threshold without data: first diffobj calibrate run={run or 'RUN'} input=FOLDER_OF_PEOPLE far=0.01"
    )
