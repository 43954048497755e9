"""Which of the leading axes `[n, *batch]` a draw or a cost has: decided once, when it is recorded, not by size alone.

A tensor of shape `[3]` in a program with a batch of 3 has one value for each datum, or three elements that all data
share. Where the number 3 also occurs elsewhere (in a parameter, in the data, as n) its shape cannot tell, and the
program is run once with other numbers of samples and data: an axis that follows n is the samples', one that follows
the batch is the data's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from framework.errors import ProgramError

Shape = tuple[int, ...]
Sizes = Callable[[], set[int]]
# What is recorded ("draw", "cost", ...), its name, and its number among those.
Site = tuple[str, str, int]
# In place of the number: any of that name.
ANY = -1


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


def candidates(
    shape: Shape, lead: Shape, per_sample: bool | None = None, per_datum: bool | None = None
) -> list[Axes]:
    """The axes that a tensor of this shape can have, the most first."""
    kinds = (ALL, SAMPLES, DATA, NONE) if len(lead) > 1 else (ALL, NONE)
    return [a for a in kinds if a.fit(shape, lead) and a.agree(per_sample, per_datum)]


@dataclass(eq=False)
class SiteAxes:
    """What is known of the axes of a program's draws and costs.

    Attributes:
        decided: each site's axes, where its shape has several explanations.
        probed: what the probing run showed of each site: whether it has the sample axis, whether it has the batch axes;
            None: the run did not change that number.
        alone: first draws of a program that runs with one sample only: they are taken to depend on no draw.
    """

    decided: dict[Site, Axes] = field(default_factory=dict)
    probed: dict[Site, tuple[bool | None, bool | None]] = field(default_factory=dict)

    alone: set[Site] = field(default_factory=set)

    def decide(
        self,
        site: Site,
        shape: Shape,
        lead: Shape,
        sizes: Sizes,
        per_sample: bool | None = None,
        per_datum: bool | None = None,
    ) -> Axes | None:
        """The axes of a tensor at a site of the program; None: no axes fit what is declared.

        Args:
            shape, lead: the tensor's, and the run's `[n, *batch]`.
            sizes: returns the lengths of all axes of parameters and data but the batch axes.
            per_sample, per_datum: what is declared.

        Raises:
            Ambiguous: several axes are possible and no probing run has taken place.
            ProgramError: it took place and did not tell them apart.
        """
        known = self.decided.get(site)
        if known is not None and known.agree(per_sample, per_datum) and known.fit(shape, lead):
            return known
        possible = candidates(shape, lead, per_sample, per_datum)
        if len(possible) < 2:
            return possible[0] if possible else None
        first, *rest = possible
        rivals = [axes for axes in rest if is_rival(first, axes, site, lead, sizes)]
        if rivals:
            first = self.choose(site, [first, *rivals], question(site, shape, lead))
        if 1 not in lead:
            self.decided[site] = first
        return first

    def choose(self, site: Site, rivals: list[Axes], text: str) -> Axes:
        """The one explanation that the probing run left."""
        kind, name, _ = site
        probed = self.probed.get(site, self.probed.get((kind, name, ANY)))
        if probed is None:
            raise Ambiguous(site, text)
        left = [axes for axes in rivals if axes.agree(*probed)]
        if len(left) != 1:
            raise ProgramError(text)
        return left[0]

    def note(self, shown: Mapping[Site, Axes], samples: bool, data: bool) -> None:
        """Note what a probing run shows of its sites; `samples`, `data`: whether it changed their numbers."""
        for site, axes in shown.items():
            kind, name, _ = site
            probed = (axes.per_sample if samples else None, axes.per_datum if data else None)
            self.probed[site] = self.probed[kind, name, ANY] = probed


def is_rival(first: Axes, other: Axes, site: Site, lead: Shape, sizes: Sizes) -> bool:
    """Whether `other` explains a shape as well as `first` does: an axis may have its length by coincidence."""
    n, batch = lead[0], lead[1:]
    samples = first.per_sample != other.per_sample
    data = bool(batch) and first.per_datum != other.per_datum
    # Whether a draw's first axis of length n is the samples' cannot be seen from sizes at all.
    unknown = samples and site[0] == "draw"
    # Of one sample or one datum, the sum over an axis and the mean over it are the same.
    if samples and not unknown and (n == 1 or (n not in batch and n not in sizes())):
        return False
    if data and not (unknown and batch[0] == n):
        return max(batch) > 1 and all(size == n or size in sizes() for size in batch)
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


class Ambiguous(Exception):
    """Several axes explain the shape of `site`: a probing run determines which. Its text is for the user."""

    def __init__(self, site: Site, text: str) -> None:
        super().__init__(text)
        self.site = site


def unused_size(size: int, used: set[int]) -> int:
    """The next length that occurs nowhere."""
    size += 1
    while size in used:
        size += 1
    return size
