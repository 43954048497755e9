"""A gallery: the embeddings of people who consented to be recognised, with the note of consent and its expiry.

It is one JSON file, which can be read, edited and deleted with any editor and contains no code. Embeddings of different
models cannot be compared, so the file names the model. People whose consent has expired are no longer recognised.
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
MAX_BYTES = 200_000_000
Day = datetime.date


@dataclass
class Person:
    """An enrolled person: embeddings `[K, D]` of norm 1, the note of consent, and the first and the last day."""

    embeddings: Tensor
    consent: str
    enrolled: Day
    expires: Day


@dataclass
class Gallery:
    """People by name, and the fingerprint of the model that computed their embeddings."""

    model: str
    people: dict[str, Person] = field(default_factory=dict)

    def enrol(self, name: str, embeddings: Tensor, consent: str, today: Day, expires: Day) -> None:
        """Add embeddings `[K, D]` of a person, new or known.

        Raises:
            UserError: no name, no note of consent, or a day in the past.
        """
        if not name.strip():
            raise UserError("name = '': expected the person's name")
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
            UserError: the gallery has no such person.
        """
        if name not in self.people:
            raise UserError(f"'{name}' is not in the gallery; {suggestion(name, self.people)}")
        del self.people[name]

    def known(self, today: Day) -> dict[str, Tensor]:
        """The mean embedding `[D]` of each person whose consent has not expired.

        Its dot product with an embedding is the mean of the cosines, to which a threshold measured on pairs applies;
        the cosine with a mean scaled to norm 1 would be larger.
        """
        return {
            name: person.embeddings.mean(0)
            for name, person in self.people.items()
            if person.expires >= today
        }

    def save(self, path: Path) -> None:
        """Replace the file atomically: a crash leaves the old one."""
        people = {
            name: {
                "consent": person.consent,
                "enrolled": person.enrolled.isoformat(),
                "expires": person.expires.isoformat(),
                "embeddings": [[round(n, 6) for n in row] for row in person.embeddings.tolist()],
            }
            for name, person in self.people.items()
        }
        content = {"format": FORMAT, "model": self.model, "people": people}
        temporary = path.with_name(f".{path.name}.partial")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Gallery:
        """Read a file.

        Raises:
            UserError: it is missing or malformed; names the person whose entry is wrong.
        """
        try:
            if path.stat().st_size > MAX_BYTES:
                raise UserError(f"{path}: more than {MAX_BYTES:,} bytes")
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"gallery = '{path}': cannot be read ({reason})") from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(f"gallery = '{path}': expected a file of format '{FORMAT}'")
        people = content.get("people")
        if not isinstance(people, dict) or not isinstance(content.get("model"), str):
            raise UserError(f"gallery = '{path}': expected 'model' and 'people'")
        return cls(content["model"], {name: person_of(name, p, path) for name, p in people.items()})


def person_of(name: str, entry: Any, path: Path) -> Person:
    """One person of a file, checked."""
    try:
        embeddings = torch.tensor(entry["embeddings"], dtype=torch.float32)
        person = Person(
            embeddings,
            str(entry["consent"]),
            Day.fromisoformat(entry["enrolled"]),
            Day.fromisoformat(entry["expires"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"gallery = '{path}', '{name}': {type(error).__name__}: {error}") from None
    norms = embeddings.norm(dim=-1) if embeddings.dim() == 2 else torch.tensor([math.nan])
    if not len(embeddings) or not ((norms - 1).abs() < 1e-3).all():
        raise UserError(f"gallery = '{path}', '{name}': expected embeddings of norm 1, [K, D]")
    return person
