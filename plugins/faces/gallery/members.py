"""The people of a gallery: embeddings, each kept under the consent it was given with, until that consent expires."""

from __future__ import annotations

import datetime
import unicodedata
from dataclasses import dataclass, field

import torch
from torch import Tensor

from framework import UserError
from framework.errors import suggestion

Day = datetime.date
# Characters of a name and of a note of consent, at most.
LONGEST_NAME, LONGEST_NOTE = 200, 2000
# How answers without a person are called.
RESERVED = {"unknown", "no face"}
# Unicode's zero-width (non-)joiner, which Persian and Indic names need; other invisible characters are refused.
JOINERS = "\u200c\u200d"


@dataclass(frozen=True)
class Consent:
    """What a person agreed to, and the embeddings `[K, D]` of norm 1 that are kept under it.

    Attributes:
        note: who agreed to what, and when.
        enrolled, expires: the first and the last day on which the person is recognised by these embeddings.
    """

    note: str
    enrolled: Day
    expires: Day
    embeddings: Tensor


@dataclass
class Members:
    """The people by name, each with one consent or more, and the fingerprint of the model that embedded them."""

    model: str
    people: dict[str, list[Consent]] = field(default_factory=dict)

    def enrol(self, name: str, embeddings: Tensor, note: str, today: Day, expires: Day) -> str:
        """Add embeddings `[K, D]` of a person, new or known; returns the name as it is kept.

        Under a note that the person has already, the embeddings join the earlier ones, and `expires` counts for all of
        them. Under another note they stand beside the earlier ones, which expire when they would have.

        Raises:
            UserError: no name or note, one that is too long or has control characters, or a day that is not to come.
        """
        name, note = clean_name(name), clean_text("consent", note, LONGEST_NOTE)
        if expires <= today:
            raise UserError(f"expires = {expires}: expected a day after {today}")
        self.check_size(embeddings)
        kept = [consent for consent in self.people.get(name, []) if consent.expires >= today]
        same = [consent for consent in kept if consent.note == note]
        others = [consent for consent in kept if consent.note != note]
        before = [consent.embeddings for consent in same]
        enrolled = min([today, *(consent.enrolled for consent in same)])
        joined = Consent(note, enrolled, expires, torch.cat([*before, embeddings.float().cpu()]))
        self.people[name] = [*others, joined]
        return name

    def check_size(self, embeddings: Tensor) -> None:
        """Refuse embeddings of another size than those that are here."""
        for consents in self.people.values():
            size = consents[0].embeddings.shape[1]
            if embeddings.shape[1] != size:
                raise UserError(
                    f"embeddings of {embeddings.shape[1]} numbers; expected {size} as in the gallery"
                )
            return

    def forget(self, name: str) -> str:
        """Remove a person and everything that is kept of them; returns the name as it was kept.

        Raises:
            UserError: there is no such person.
        """
        single = " ".join(name.split()) if isinstance(name, str) else repr(name)
        kept = unicodedata.normalize("NFC", single)
        if kept not in self.people:
            raise UserError(f"'{name}' is not in the gallery; {suggestion(kept, self.people)}")
        del self.people[kept]
        return kept

    def purge(self, today: Day) -> list[str]:
        """Delete every embedding whose consent has expired; returns the people of whom some were deleted."""
        changed: list[str] = []
        for name, consents in list(self.people.items()):
            kept = [consent for consent in consents if consent.expires >= today]
            if len(kept) < len(consents):
                changed.append(name)
                self.people[name] = kept
            if not kept:
                del self.people[name]
        return changed

    def known(self, today: Day) -> dict[str, Tensor]:
        """The mean embedding `[D]` of each person under consents that have not expired.

        Its dot product with an embedding is the mean of the cosines, to which a threshold measured on pairs applies;
        the cosine with a mean scaled to norm 1 would be larger.
        """
        valid = {
            name: [consent.embeddings for consent in consents if consent.expires >= today]
            for name, consents in self.people.items()
        }
        return {name: torch.cat(parts).mean(0) for name, parts in valid.items() if parts}


def clean_name(name: str) -> str:
    """A person's name in Unicode's composed form (NFC), spaces made single.

    Raises:
        UserError: an empty or reserved one, or one that cannot be written on a line.
    """
    single = " ".join(name.split()) if isinstance(name, str) else name
    kept = clean_text("name", single, LONGEST_NAME)
    if kept.casefold() in RESERVED:
        raise UserError(
            f"name = '{kept}': is the answer where no person is recognised; expected a person's name"
        )
    return kept


def clean_text(key: str, text: str, longest: int) -> str:
    """A text in NFC.

    Raises:
        UserError: no text, an empty or too long one, or one with control characters, line breaks or invisible ones.
    """
    what = "the person's name" if key == "name" else "a note of who agreed to what, and when"
    if not isinstance(text, str):
        raise UserError(f"{key} = {text!r}: expected {what}")
    kept = unicodedata.normalize("NFC", text.strip())
    if not kept.strip(JOINERS):
        raise UserError(f"{key} = {kept!a}: expected {what}")
    if len(kept) > longest:
        raise UserError(
            f"{key} = '{kept[:40]}...': {len(kept):,} characters; expected {longest:,} at most"
        )
    for character in kept:
        category = unicodedata.category(character)
        if (category[0] == "C" and character not in JOINERS) or category in {"Zl", "Zp"}:
            raise UserError(
                f"{key} = {kept[:60]!a}: has the character U+{ord(character):04X}; "
                f"expected {what} without control or invisible characters"
            )
    return kept
