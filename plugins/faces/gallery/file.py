"""A gallery's file: JSON that any editor reads and that contains no code, checked field by field when it is read.

Only its owner may read it (mode 0600), unless its mode was changed by hand, which is then kept. It is rewritten as a
whole, under a lock that other processes wait for, and through links: what stands behind every name of it changes.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from framework import UserError
from framework.atomic import write_atomically
from plugins.faces.gallery.members import (
    LONGEST_NOTE,
    Consent,
    Day,
    Members,
    clean_name,
    clean_text,
)

FORMAT = "diffobj gallery 2"
# Of which a person had one consent.
EARLIER_FORMAT = "diffobj gallery 1"
MAX_BYTES = 200_000_000
# Seconds to wait for another process that writes the gallery.
PATIENCE = 30.0
OWNER_ONLY = 0o600

Norm1 = Annotated[
    list[Annotated[float, Field(ge=-1.001, le=1.001, allow_inf_nan=False)]],
    Field(min_length=2, max_length=100_000),
]


class Entry(BaseModel):
    """One consent in the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    consent: Annotated[str, AfterValidator(lambda note: clean_text("consent", note, LONGEST_NOTE))]
    enrolled: Day
    expires: Day
    embeddings: Annotated[list[Norm1], Field(min_length=1)]


class Content(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal["diffobj gallery 2"]
    model: Annotated[str, Field(pattern=r"^[ -~]{1,200}$")]
    people: dict[str, Annotated[list[Entry], Field(min_length=1)]]


class EarlierContent(BaseModel):
    """A file of the earlier format."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal["diffobj gallery 1"]
    model: Annotated[str, Field(pattern=r"^[ -~]{1,200}$")]
    people: dict[str, Entry]


def read_members(path: Path) -> Members:
    """Read a gallery's file.

    Raises:
        UserError: it is missing, no regular file, or malformed: names the first field that is wrong.
    """
    text = read_bytes(path)
    try:
        earlier = format_of(text) == EARLIER_FORMAT
        content = (EarlierContent if earlier else Content).model_validate_json(text)
        entries: dict[str, Any] = {
            name: value if isinstance(value, list) else [value]
            for name, value in content.people.items()
        }
        members = Members(content.model)
        for name, consents in entries.items():
            if clean_name(name) != name:
                raise UserError(
                    f"the name {name[:60]!a}: expected it in composed form (NFC), without extra spaces"
                )
            members.people[name] = [consent_of(name, entry, members) for entry in consents]
    except ValidationError as error:
        raise malformed(path, first_of(error)) from None
    except (UserError, ValueError, RecursionError) as error:
        raise malformed(path, str(error)) from None
    return members


def read_bytes(path: Path) -> bytes:
    """The bytes of a regular file of a bearable size."""
    try:
        # Opening a pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise malformed(path, "expected a file")
            if found.st_size > MAX_BYTES:
                raise malformed(path, f"more than {MAX_BYTES:,} bytes")
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise malformed(path, f"cannot be read ({reason})") from None


def format_of(text: bytes) -> object:
    """The file's format; a key that stands twice, of which one would be lost, is refused.

    Raises:
        ValueError: no JSON object.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"{key[:60]!a} stands in it twice")
            found[key] = value
        return found

    content = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    if not isinstance(content, dict) or content.get("format") not in (FORMAT, EARLIER_FORMAT):
        raise ValueError(f"expected a file of format '{FORMAT}'")
    return content["format"]


def consent_of(name: str, entry: Entry, members: Members) -> Consent:
    """An entry as a consent, its embeddings checked."""
    lengths = {len(row) for row in entry.embeddings}
    embeddings = torch.tensor(entry.embeddings) if len(lengths) == 1 else torch.zeros(1, 1)
    if not ((embeddings.norm(dim=1) - 1).abs() < 1e-3).all():
        raise UserError(f"'{name}': expected embeddings of norm 1, all of one length")
    if entry.enrolled > entry.expires:
        raise UserError(f"'{name}': enrolled {entry.enrolled}, after the last day {entry.expires}")
    members.check_size(embeddings)
    return Consent(entry.consent, entry.enrolled, entry.expires, embeddings)


def first_of(error: ValidationError) -> str:
    """The first wrong field and what is wrong with it."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place[:80] or 'file'}: {first['msg']}"


def malformed(path: Path, reason: str) -> UserError:
    """A fault in one line, whatever the file or its name holds."""
    line = "".join(
        c if c.isprintable() else ascii(c)[1:-1] for c in f"gallery = '{path}': {reason}"
    )
    return UserError(line if len(line) < 600 else f"{line[:600]}...")


def write_members(path: Path, members: Members) -> None:
    """Replace the file as a whole, or make it; whoever changes what was read holds it (`held`)."""
    people = {
        name: [
            {
                "consent": consent.note,
                "enrolled": consent.enrolled.isoformat(),
                "expires": consent.expires.isoformat(),
                "embeddings": [[round(n, 6) for n in row] for row in consent.embeddings.tolist()],
            }
            for consent in consents
        ]
        for name, consents in members.people.items()
    }
    content = {"format": FORMAT, "model": members.model, "people": people}
    data = json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8")
    # The file itself, not a link to it: else the link would be replaced and the file would stay.
    path = path.resolve()
    try:
        found = path.stat()
    except FileNotFoundError:
        write_atomically(path, data, mode=OWNER_ONLY)
        return
    if found.st_nlink == 1:
        write_atomically(path, data, mode=stat.S_IMODE(found.st_mode))
    else:
        overwrite(path, data)


def overwrite(path: Path, data: bytes) -> None:
    """Write into a file that has several names (hard links), so that it changes under each of them.

    The new content first lies beside it, as a whole: that is where it is, should this be cut off.
    """
    beside = path.with_name(f".{path.name}.new")
    write_atomically(beside, data, mode=OWNER_ONLY)
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    beside.unlink()


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a gallery inside the block: others who would write it wait, as long as they are patient.

    The lock is on the folder, since the file is replaced; it leaves no file behind.

    Raises:
        UserError: no such folder, or another process does not let go.
    """
    folder = path.resolve().parent
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise malformed(
            path, f"expected a file in a folder that exists ({error.strerror})"
        ) from None
    try:
        deadline = time.monotonic() + PATIENCE
        while not locked(lock):
            if time.monotonic() > deadline:
                raise malformed(
                    path, f"another process has been writing it for {PATIENCE:g} seconds"
                )
            time.sleep(0.01)
        yield
    finally:
        os.close(lock)


def locked(descriptor: int) -> bool:
    """Take a lock if it is free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
