"""Which of the leading axes `[n, *batch]` a draw or a cost has: decided once, when it is recorded, not by size alone.

A tensor of shape `[3]` in a program with a batch of 3 has one value for each datum, or three elements that all data
share. Its shape cannot tell, and so the program is run once with other numbers of samples and data (see
`framework.recording.probing`): an axis that follows n is the samples', one that follows the batch is the data's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from framework.errors import ProgramError

Shape = tuple[int, ...]
# What is recorded ("draw", "cost", ...), its name, and its number among those.
Site = tuple[str, str, int]
# Of one program, whose axes are kept for the next run.
MOST_SHAPES = 10_000
# In place of the number: any of that name.
ANY = -1


class AxesUnknown(ProgramError):
    """Several axes explain a shape, and a run with other sizes does not tell them apart."""


class Axes(NamedTuple):
    """Whether a tensor has the sample axis, and whether it has the batch axes (true where there are none)."""

    per_sample: bool
    per_datum: bool

    def of(self, lead: Shape) -> Shape:
        """The leading axes it has, of the leading shape `[n, *batch]`."""
        return (lead[:1] if self.per_sample else ()) + (lead[1:] if self.per_datum else ())

    def fit(self, shape: Shape, lead: Shape) -> bool:
        """Whether a tensor of this shape can have these axes."""
        own = self.of(lead)
        return shape[: len(own)] == own

    def agree(self, per_sample: bool | None, per_datum: bool | None) -> bool:
        """Whether they are what is declared or was probed; None: anything."""
        return per_sample in (None, self.per_sample) and per_datum in (None, self.per_datum)


ALL, SAMPLES, DATA, NONE = (
    Axes(True, True),
    Axes(True, False),
    Axes(False, True),
    Axes(False, False),
)


class Probe:
    """How a run of a program learns what its shapes mean; here: not at all. See `framework.recording.probing`."""

    def sizes(self) -> set[int]:
        """The lengths of all axes of parameters and data but the batch axes."""
        return set()

    def run(self, known: SiteAxes) -> None:
        """Run the program with other sizes and note in `known` what that shows."""


@lru_cache(maxsize=4096)
def candidates(
    shape: Shape, lead: Shape, per_sample: bool | None = None, per_datum: bool | None = None
) -> tuple[Axes, ...]:
    """The axes that a tensor of this shape can have, the most first."""
    kinds = (ALL, SAMPLES, DATA, NONE) if len(lead) > 1 else (ALL, NONE)
    return tuple(a for a in kinds if a.fit(shape, lead) and a.agree(per_sample, per_datum))


@dataclass(eq=False)
class SiteAxes:
    """What is known of the axes of a program's draws and costs.

    Attributes:
        decided: each site's axes, where its shape has several explanations.
        probed: what the probing run showed of each site: whether it has the sample axis, whether it has the batch axes;
            None: the run did not change that number.
        unknown: leading shapes at which a probing run was tried and failed.
        only: the axes of shapes that have one explanation, by all that was asked.
        alone: first draws of a program that runs with one sample only: they are taken to depend on no draw.
    """

    decided: dict[Site, Axes] = field(default_factory=dict)
    probed: dict[Site, tuple[bool | None, bool | None]] = field(default_factory=dict)
    unknown: set[Shape] = field(default_factory=set)
    alone: set[Site] = field(default_factory=set)
    only: dict[tuple[Any, ...], Axes] = field(default_factory=dict, repr=False)

    def decide(
        self,
        site: Site,
        shape: Shape,
        lead: Shape,
        probe: Probe,
        per_sample: bool | None = None,
        per_datum: bool | None = None,
    ) -> Axes | None:
        """The axes of a tensor at a site of the program; None: no axes fit what is declared.

        Args:
            shape, lead: the tensor's, and the run's `[n, *batch]`.
            probe: the probing run, made now if it is needed and was not made before.
            per_sample, per_datum: what is declared.

        Raises:
            AxesUnknown: several axes are possible and the probing run does not tell them apart.
        """
        asked = (site, shape, lead, per_sample, per_datum)
        only = self.only.get(asked)
        if only is not None:
            return only
        known = self.decided.get(site)
        if known is not None and known.agree(per_sample, per_datum) and known.fit(shape, lead):
            return known
        possible = candidates(shape, lead, per_sample, per_datum)
        if len(possible) < 2:
            if possible and len(self.only) < MOST_SHAPES:
                self.only[asked] = possible[0]
            return possible[0] if possible else None
        axes = self.choose(site, possible, shape, lead, probe)
        # Of one sample or one datum, the answer may not hold for more.
        if 1 not in lead or site in self.probed:
            self.decided[site] = axes
        return axes

    def choose(
        self, site: Site, possible: Sequence[Axes], shape: Shape, lead: Shape, probe: Probe
    ) -> Axes:
        """One of several axes that explain a shape."""
        first, *rest = possible
        axes = self.shown(site, possible)
        if axes == first:
            return first
        doubtful = any(is_rival(first, axes, site, lead, probe) for axes in rest)
        if axes is None and (doubtful or self.needs_probing(lead)):
            probe.run(self)
            axes = self.shown(site, possible)
        if axes is None and lead == (1,) and site[0] == "draw" and site[2] == 0:
            self.alone.add(site)
            return NONE
        # Nothing tells: no other size runs, or an axis as long as the batch does not follow it and nothing else has
        # that length, so that it may be a number of data written in the program.
        if axes is None if doubtful else axes not in (None, first):
            raise AxesUnknown(question(site, shape, lead))
        return first if axes is None else axes

    def needs_probing(self, lead: Shape) -> bool:
        """Whether a program with a batch of data has not been run with other sizes yet."""
        return max(lead[1:], default=1) > 1 and not self.probed and lead not in self.unknown

    def shown(self, site: Site, possible: Sequence[Axes]) -> Axes | None:
        """The axes that the probing run showed a site to have; None: it was not made, or did not tell."""
        kind, name, _ = site
        probed = self.probed.get(site, self.probed.get((kind, name, ANY)))
        if probed is None:
            return None
        left = [axes for axes in possible if axes.agree(*probed)]
        return left[0] if len(left) == 1 else None

    def note(self, shown: Mapping[Site, Axes], samples: bool, data: bool) -> None:
        """Note what a probing run shows of its sites; `samples`, `data`: whether it changed their numbers."""
        for site, axes in shown.items():
            kind, name, _ = site
            probed = (axes.per_sample if samples else None, axes.per_datum if data else None)
            self.probed[site] = self.probed[kind, name, ANY] = probed


def is_rival(first: Axes, other: Axes, site: Site, lead: Shape, probe: Probe) -> bool:
    """Whether `other` explains a shape as well as `first` does: an axis may have its length by coincidence."""
    n, batch = lead[0], lead[1:]
    samples = first.per_sample != other.per_sample
    data = bool(batch) and first.per_datum != other.per_datum
    # Whether a draw's first axis of length n is the samples' cannot be seen from sizes at all.
    unknown = samples and site[0] == "draw"
    # Of one sample or one datum, the sum over an axis and the mean over it are the same.
    if samples and not unknown and (n == 1 or (n not in batch and n not in probe.sizes())):
        return False
    if data and not (unknown and batch[0] == n):
        return max(batch) > 1 and all(size == n or size in probe.sizes() for size in batch)
    return True


def question(site: Site, shape: Shape, lead: Shape) -> str:
    """What the user is asked where nothing tells the axes."""
    kind, name, _ = site
    call = {"draw": "sample"}.get(kind, kind)
    batch = (
        ""
        if len(lead) == 1
        else " and per_datum=True or per_datum=False (one value for each datum, or not)"
    )
    return (
        f"{kind} '{name}' has shape {list(shape)} where [samples, *batch] is {list(lead)}, by design or coincidence, "
        f"and a run with other sizes did not tell: give context.{call} per_sample=True or per_sample=False (one value "
        f"for each sample, or not){batch}"
    )


def unused_size(size: int, used: set[int]) -> int:
    """A larger length that occurs nowhere: a prime from 7 on, which numbers in a program seldom are."""
    size = max(size + 1, 7)
    while size in used or any(size % d == 0 for d in range(2, math.isqrt(size) + 1)):
        size += 1
    return size
