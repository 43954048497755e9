"""A gallery: the features of people who agreed to be known, with the note that says so and the day it ends.

It is one JSON file, which can be read, mended and deleted with any editor and in which nothing is code. Features of one
model mean nothing to another, so the file names the model. People whose day is over are not recognised any more.
"""

from __future__ import annotations

import datetime
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework import UserError
from framework.errors import suggestion

FORMAT = "diffobj gallery 1"
MOST_BYTES = 200_000_000
Day = datetime.date


@dataclass
class Person:
    """Someone who is known: features `[K, D]` of norm 1, why they may be kept, since when and until which day."""

    embeddings: Tensor
    consent: str
    enrolled: Day
    expires: Day


@dataclass
class Gallery:
    """People by name, and the model that their features are of."""

    model: str
    people: dict[str, Person] = field(default_factory=dict)

    def enrol(self, name: str, embeddings: Tensor, consent: str, today: Day, expires: Day) -> None:
        """Add features of a person, new or known.

        Raises:
            UserError: no name, no note of consent, or a day that is over.
        """
        if not name.strip():
            raise UserError("name = '': expected what the person is called")
        if not consent.strip():
            raise UserError("consent = '': expected a note of who agreed to what, and when")
        if expires <= today:
            raise UserError(f"expires = {expires}: expected a day after {today}")
        known = self.people.get(name)
        before = known.embeddings if known else embeddings[:0]
        enrolled = known.enrolled if known else today
        self.people[name] = Person(torch.cat([before, embeddings]), consent, enrolled, expires)

    def forget(self, name: str) -> None:
        """Remove a person.

        Raises:
            UserError: nobody is called so.
        """
        if name not in self.people:
            raise UserError(f"'{name}' is not in the gallery; {suggestion(name, self.people)}")
        del self.people[name]

    def known(self, today: Day) -> dict[str, Tensor]:
        """The mean `[D]` of the features of each person whose day is not over.

        Its product with a feature is the mean of the cosines, which a threshold of pairs suits; the cosine with a mean
        of norm 1 would be larger.
        """
        return {
            name: person.embeddings.mean(0)
            for name, person in self.people.items()
            if person.expires >= today
        }

    def save(self, path: Path) -> None:
        """Write the file anew; a crash on the way leaves the old one."""
        people = {
            name: {
                "consent": person.consent,
                "enrolled": person.enrolled.isoformat(),
                "expires": person.expires.isoformat(),
                "embeddings": [[round(n, 6) for n in row] for row in person.embeddings.tolist()],
            }
            for name, person in self.people.items()
        }
        told = {"format": FORMAT, "model": self.model, "people": people}
        temporary = path.with_name(f".{path.name}.partial")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(told, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Gallery:
        """Read a file.

        Raises:
            UserError: it is not there, or not such a file; the person in whom something is wrong is named.
        """
        try:
            if path.stat().st_size > MOST_BYTES:
                raise UserError(f"{path}: more than {MOST_BYTES:,} bytes")
            told = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"gallery = '{path}': cannot be read ({reason})") from None
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            raise UserError(f"gallery = '{path}': expected a file of format '{FORMAT}'")
        people = told.get("people")
        if not isinstance(people, dict) or not isinstance(told.get("model"), str):
            raise UserError(f"gallery = '{path}': expected 'model' and 'people'")
        return cls(told["model"], {name: person_of(name, p, path) for name, p in people.items()})


def person_of(name: str, told: Any, path: Path) -> Person:
    """One person of a file."""
    try:
        embeddings = torch.tensor(told["embeddings"], dtype=torch.float32)
        person = Person(
            embeddings,
            str(told["consent"]),
            Day.fromisoformat(told["enrolled"]),
            Day.fromisoformat(told["expires"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"gallery = '{path}', '{name}': {type(error).__name__}: {error}") from None
    norms = embeddings.norm(dim=-1) if embeddings.dim() == 2 else torch.tensor([math.nan])
    if not len(embeddings) or not ((norms - 1).abs() < 1e-3).all():
        raise UserError(f"gallery = '{path}', '{name}': expected features of norm 1, [K, D]")
    return person
