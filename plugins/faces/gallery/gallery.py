"""A gallery in Python: people enrolled, recognised and forgotten, from pictures in any form.

    faces = framework.load("outputs/faces_recognition/<time>").task
    gallery = Gallery("people.json", faces)
    gallery.enrol("Ann", ["a1.jpg", "a2.jpg"], consent="form of 1 May 2026")
    gallery.identify("photo.jpg")
    gallery.forget("Ann")

The file is read when it is used and rewritten under a lock, so that several processes may enrol into it at once.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from framework import UserError
from plugins.faces.data.photographs import given_path, is_several, refuse_several
from plugins.faces.gallery.file import held, malformed, read_members, write_members
from plugins.faces.gallery.members import (
    LONGEST_NOTE,
    Consent,
    Day,
    Members,
    clean_name,
    clean_text,
)

if TYPE_CHECKING:
    from plugins.faces.analysis.analysis import FaceAnalysis

# For how long a consent counts where no day is given.
USUAL_VALIDITY = datetime.timedelta(days=365)


@dataclass(frozen=True)
class Identification:
    """Who a detected face is.

    Attributes:
        person: the most similar person of the gallery, or None where no cosine reaches the threshold.
        cosine: the mean cosine with that person's pictures; nearest: who that is, accepted or not.
        threshold: from which on a person is accepted in a gallery of this size.
        fpir: the false positive identification rate of that threshold: how often somebody who is not in the gallery
            is taken for anyone of it.
        box: `[4]` xyxy in the picture's pixels.
        quality: of the face, 0 to 1; see `faces.find`.
    """

    person: str | None
    nearest: str
    cosine: float
    threshold: float
    fpir: float
    box: Tensor
    quality: float


class Gallery:
    """People who consented to be recognised, in a file, and the task that embeds their faces.

    Args:
        path: the file; it is made by the first enrolment, readable by its owner alone.
        faces: a trained face task (`framework.load(run).task`); None: to list, forget and purge.
    """

    def __init__(self, path: str | Path, faces: FaceAnalysis | None = None) -> None:
        self.path, self.faces = given_path("gallery", path), faces

    def enrol(
        self,
        name: str,
        pictures: Any | Sequence[Any],
        *,
        consent: str,
        expires: Day | str | None = None,
    ) -> int:
        """Add pictures of a person, new or known, under a consent; the pictures themselves are not kept.

        Args:
            name: the person's.
            pictures: one or a list of them, each with one face: paths, PIL images, arrays or tensors.
            consent: a note of who agreed to what, and when. Features under another note expire when that one does.
            expires: the last day on which the person is recognised by them; None: in a year.

        Returns:
            how many pictures of the person count now.

        Raises:
            UserError: no face or several in a picture, one of too low a quality, a gallery of another model, a name
                or note that is empty or has control characters, a day that is not to come.
        """
        faces, today = self.task(), datetime.date.today()
        name, consent = clean_name(name), clean_text("consent", consent, LONGEST_NOTE)
        until = today + USUAL_VALIDITY if expires is None else as_day(expires)
        if until <= today:
            raise UserError(f"expires = {until}: expected a day after {today}")
        several: list[Any] = list(pictures) if is_several(pictures) else [pictures]
        if not several:
            raise UserError(f"no picture of '{name}': expected one or more")
        if self.path.exists():
            self.members()
        elif not self.path.parent.is_dir():
            raise malformed(self.path, "expected a file in a folder that exists")
        embeddings = torch.stack([faces.only_face(picture).embedding for picture in several])
        with held(self.path):
            members = self.members() if self.path.exists() else Members(faces.fingerprint())
            members.purge(today)
            members.enrol(name, embeddings, consent, today, until)
            write_members(self.path, members)
        return sum(len(kept.embeddings) for kept in members.people[name])

    def identify(self, picture: Any, *, fpir: float | None = None) -> list[Identification]:
        """Who each face of a picture is; an empty list where there is no face.

        The threshold is of a stated false positive identification rate in a gallery of this size, by the run's
        calibration: each face is compared with everybody, so it is stricter than that of `verify`.

        Args:
            fpir: the rate; None: the calibration's false acceptance rate.

        Raises:
            UserError: no people whose consent has not expired, a gallery of another model, a run that was not
                calibrated, or on too few people for this rate and size; several pictures.
        """
        faces, known = self.task(), self.members().known(datetime.date.today())
        if not known:
            raise malformed(self.path, "it has no people whose consent has not expired")
        calibration = faces.need_calibration()
        rate = calibration.far if fpir is None else fpir
        threshold = calibration.identification_threshold(rate, len(known))
        refuse_several(picture)
        names, means = list(known), torch.stack(list(known.values()))
        found = faces.find(picture)
        assert found.embeddings is not None
        answers = []
        for number, embedding in enumerate(found.embeddings):
            cosine, best = (means @ embedding).max(0)
            person = names[int(best)] if float(cosine) >= threshold else None
            box, quality = found.boxes[number], float(found.qualities[number])
            answers.append(
                Identification(
                    person, names[int(best)], float(cosine), threshold, rate, box, quality
                )
            )
        return answers

    def forget(self, name: str) -> int:
        """Remove a person and everything that is kept of them, under every name that the file has.

        Returns:
            how many people there are now.

        Raises:
            UserError: the gallery has no such person.
        """
        with held(self.path):
            members = read_members(self.path)
            members.purge(datetime.date.today())
            members.forget(name)
            write_members(self.path, members)
        return len(members.people)

    def purge(self) -> list[str]:
        """Delete all embeddings whose consent has expired; returns the people of whom some were deleted.

        Whatever else changes the file deletes them, too.
        """
        with held(self.path):
            members = read_members(self.path)
            changed = members.purge(datetime.date.today())
            if changed:
                write_members(self.path, members)
        return changed

    def people(self) -> dict[str, list[Consent]]:
        """Everybody in the file, with their consents, expired ones among them."""
        return read_members(self.path).people

    def members(self) -> Members:
        """What the file holds.

        Raises:
            UserError: its embeddings are of another model than the task's.
        """
        members = read_members(self.path)
        if members.model != self.task().fingerprint():
            raise malformed(self.path, "its embeddings are of another model than this run's")
        return members

    def task(self) -> FaceAnalysis:
        """The task that embeds faces.

        Raises:
            UserError: none was given, or one whose embeddings do not distinguish people.
        """
        if self.faces is None:
            raise UserError("Gallery(path): expected Gallery(path, framework.load(run).task)")
        self.faces.need_embeddings()
        return self.faces


def as_day(day: Day | str) -> Day:
    """A day, or its ISO form such as 2027-12-31."""
    if isinstance(day, datetime.datetime):
        return day.date()
    if isinstance(day, datetime.date):
        return day
    try:
        return datetime.date.fromisoformat(day)
    except (TypeError, ValueError):
        raise UserError(f"expires = {day!r}: expected a day such as 2027-12-31") from None
