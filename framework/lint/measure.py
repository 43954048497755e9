"""Whether a cost follows its draws as its gradient says, and whether it jumps: decided by running the program again.

**A gradient that is cut.** Along a short way, what a response changes by is the integral of its slope. Where it changes
otherwise in many samples, at a length and at a quarter of it, a part of its dependence has no gradient. Kinks and jumps
do not show here: few samples are near one.

**A jump.** Two places on the way at which a call returns different things (a comparison, say) are halved until they are
very near each other, with the call's change between them. A continuous response, a square root at its zero too, changes
less between them than within a much larger radius on either side; one that jumps changes by its jump. What is chaotic
changes as much beside them at their own distance, and is no jump.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from framework.lint.calls import Call
from framework.lint.replay import Key, Replayed, Response, Segments, UndecidedError
from framework.lint.teeth import has_teeth

# Of the way: a length at which curvature does not count yet, and rounding does not either.
SHORT = 1e-3
# Until two places are 2^-16 of the way apart.
HALVINGS = 16
# How far beside the two what a response does without the call's change is looked at.
RADII = (2**-9, 2**-9 * 1.7)
# A response that changes about as much within a few times the distance of the two places is not resolved there: it may
# be continuous and steep, as where errors grow from step to step.
GAPS, UNRESOLVED = (1.0, 3.0), 4.0
# Of the samples: a cut shows in nearly all, a kink or a jump in few.
MANY = 0.25
# Of a response's size: single precision.
ROUNDING = 3e-5


@dataclass(frozen=True)
class Cuts:
    """How responses disagree with their slopes.

    Attributes:
        off: the responses that change otherwise than their slopes say.
        followed: whether any response has a slope at all.
    """

    off: frozenset[str]
    followed: bool

    def __bool__(self) -> bool:
        return bool(self.off)


def refuse_unsteady(segments: Segments, *, slopes: bool = True) -> Replayed:
    """The run at the beginning, with the slopes of its responses where draws that move are continuous.

    Raises:
        UndecidedError: a second run is another, because the program is random by itself or keeps a state.
    """
    nowhere = torch.zeros(segments.count)
    first, second = segments.at(nowhere, slopes=slopes), segments.at(nowhere, slopes=False)
    for a, b in pairs(first, second):
        if not torch.equal(a.value.nan_to_num(), b.value.nan_to_num()):
            raise UndecidedError("a second run with the same draws is another")
    return first


def cuts(segments: Segments, start: Replayed) -> Cuts:
    """The responses that follow the draws otherwise than their gradients say."""
    off = disagreements(segments, start, SHORT)
    if off:
        off &= disagreements(segments, start, SHORT / 4)
    return Cuts(frozenset(off), any(bool(response.slope.any()) for response in start.responses))


def disagreements(segments: Segments, start: Replayed, length: float) -> set[str]:
    """Which responses do not change as their slopes say along the first `length` of the way, in many samples."""
    end = segments.at(torch.full((segments.count,), length))
    found: set[str] = set()
    for a, b in pairs(start, end):
        change, explained = b.value - a.value, length * (a.slope + b.slope) / 2
        size = torch.maximum(change.abs(), explained.abs())
        off = (change - explained).abs() > 0.1 * size + ROUNDING / 4 * largest(a.value)
        finite = change.isfinite() & explained.isfinite()
        if bool(finite.any()) and float((off & finite).sum() / finite.sum()) > MANY:
            found.add(a.key[0])
    return found


def jumps(segments: Segments, call: Call) -> bool:
    """Whether a response jumps where the call's result changes along the way."""
    if jumps_on_the_way(segments, call):
        return True
    # What left torch may be one number for all samples, which changes where they move together.
    shared = call.effect == "escape" and segments.count > 1
    return shared and jumps_on_the_way(segments, call, together=True)


def jumps_on_the_way(segments: Segments, call: Call, *, together: bool = False) -> bool:
    """Whether a response jumps between two near places: of each sample, or the same for all samples."""
    blind = call.effect in ("sawtooth", "escape") and not has_teeth(call.name)
    # There is a radius on either side of every place between them.
    low = torch.full((segments.count,), max(RADII))
    high = 1 - low
    at_low = segments.at(low, call, slopes=blind)
    at_high = segments.at(high, call, slopes=blind)
    crossing = torch.ones(segments.count, dtype=torch.bool)
    if not blind:
        crossing = differs(at_low.outcomes, at_high.outcomes, segments.count)
        if not crossing.any():
            return False
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        at_middle = segments.at(middle, call, slopes=blind)
        if blind:
            before = rougher(at_low, at_middle, at_high, middle - low, together)
        else:
            before = differs(at_low.outcomes, at_middle.outcomes, segments.count)
        low, high = torch.where(before, low, middle), torch.where(before, middle, high)
        at_low = chosen(before, at_low, at_middle)
        at_high = chosen(before, at_middle, at_high)
    smooth: dict[Key, Tensor] = {}
    for radius in RADII:
        note_changes(smooth, segments, (at_low, low - radius), (at_high, high + radius))
    if not bool((excess(at_low, at_high, smooth) & crossing).any()):
        return False
    gap = high - low
    for times in GAPS:
        beside = (at_low, low - times * gap), (at_high, high + times * gap)
        note_changes(smooth, segments, *beside, weight=UNRESOLVED)
    return bool((excess(at_low, at_high, smooth) & crossing).any())


def note_changes(
    smooth: dict[Key, Tensor],
    segments: Segments,
    *sides: tuple[Replayed, Tensor],
    weight: float = 1.0,
) -> None:
    """Raise the largest change of each response to that between these runs and those at the places beside them."""
    for near, place in sides:
        for a, b in pairs(near, segments.at(place, slopes=False)):
            change = weight * (a.value - b.value).abs()
            smooth[a.key] = torch.maximum(smooth.get(a.key, change), change)


def excess(low: Replayed, high: Replayed, smooth: dict[Key, Tensor]) -> Tensor:
    """In which samples a response changes by more between two near places than it does beside them, `[n]`."""
    found = torch.zeros(1, dtype=torch.bool)
    for a, b in pairs(low, high):
        size = torch.maximum(largest(a.value), largest(b.value))
        found = found | ((a.value - b.value).abs() > smooth[a.key] + ROUNDING * size)
    return found


def rougher(
    low: Replayed, middle: Replayed, high: Replayed, half: Tensor, together: bool
) -> Tensor:
    """Whether the responses change less smoothly in the first half, `[n]`; `together`: those of all samples."""
    parts = []
    for a, b in ((low, middle), (middle, high)):
        rest = torch.zeros(len(half))
        for one, other in pairs(a, b):
            smooth = half * (one.slope + other.slope) / 2
            rest = rest + (other.value - one.value - smooth).abs()
        parts.append(rest.sum().expand_as(rest) if together else rest)
    return parts[0] >= parts[1]


def chosen(first: Tensor, some: Replayed, others: Replayed) -> Replayed:
    """Each sample's part of one run or the other."""
    responses = [
        Response(a.key, torch.where(first, a.value, b.value), torch.where(first, a.slope, b.slope))
        for a, b in pairs(some, others)
    ]
    outcomes = some.outcomes
    if len(some.outcomes) == len(others.outcomes):
        outcomes = [merge(first, a, b) for a, b in zip(some.outcomes, others.outcomes, strict=True)]
    elif not bool(first.any()):
        outcomes = others.outcomes
    return Replayed(responses, outcomes)


def merge(first: Tensor, some: Tensor, others: Tensor) -> Tensor:
    """Each sample's rows of one tensor or the other."""
    if some.shape != others.shape or some.shape[:1] != first.shape:
        return some if bool(first.any()) else others
    return torch.where(first.reshape(-1, *[1] * (some.dim() - 1)), some, others)


def differs(some: list[Tensor], others: list[Tensor], n: int) -> Tensor:
    """In which samples a call returned something else, `[n]`."""
    found = torch.zeros(n, dtype=torch.bool)
    if [a.shape for a in some] != [b.shape for b in others]:
        return ~found
    for a, b in zip(some, others, strict=True):
        unlike = a != b
        found = found | (unlike.reshape(n, -1).any(-1) if a.shape[:1] == (n,) else unlike.any())
    return found


def pairs(some: Replayed, others: Replayed) -> list[tuple[Response, Response]]:
    """The responses of two runs; what one of them does not charge counts as 0.

    Raises:
        UndecidedError: one of them makes other draws.
    """
    if [r.key for r in some.responses] == [r.key for r in others.responses]:
        return list(zip(some.responses, others.responses, strict=True))
    if [r.key for r in some.responses if r.drawn] != [r.key for r in others.responses if r.drawn]:
        raise UndecidedError("the program makes other draws")
    ours, theirs = ({r.key: r for r in run.responses} for run in (some, others))
    keys = {**ours, **theirs}
    return [(ours.get(k, r.nothing()), theirs.get(k, r.nothing())) for k, r in keys.items()]


def largest(value: Tensor) -> Tensor:
    return value.nan_to_num(0, 0, 0).abs().amax()
