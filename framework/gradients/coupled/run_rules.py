"""The two rules of coupled runs: the base run draws and records, counterfactual runs repeat it up to a change."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution
from torch.nn.functional import one_hot

from framework.gradients.coupled.coupling import (
    SCALAR,
    BaseDraw,
    Coupling,
    all_close,
    hidden_randomness_error,
    repeat,
)
from framework.gradients.coupled.soft_index import soft_index
from framework.gradients.distributions.noise_families import base_of


class IndexDrawn(Exception):
    """A draw is an index to be relaxed, which the base run, of hard indices, cannot have beside it."""


class BaseRun:
    """Draws from noise and records every draw.

    Args:
        samples: n.
        paired: the second half of the samples is the counterfactual run of the first layer.
        loop: one sample is run at a time, so that dependence between draws cannot be seen.
    """

    scored = True
    biased = False
    relaxed = False

    def __init__(self, coupling: Coupling, samples: int, *, paired: bool, loop: bool) -> None:
        self.name = coupling.name
        self.coupling = coupling
        self.samples = samples
        self.lead = torch.Size((samples,))
        self.paired = paired
        self.loop = loop
        self.draws: list[BaseDraw] = []

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        family, has_sample_axis = self.coupling.family(site, distribution), not shape
        index = relaxed_index(self.coupling, distribution)
        if index and self.paired:
            raise IndexDrawn
        given = family.parameters(base_of(distribution))
        halved = has_sample_axis and self.paired
        parameters = tuple(p[: self.samples] for p in given) if halved else given
        noise = family.noise(parameters, SCALAR if has_sample_axis else self.lead)
        value = family.value(parameters, noise)
        layer = self.draws[-1].layer + (has_sample_axis or self.loop) if self.draws else 0
        draw = BaseDraw(site, family, parameters, noise, value, has_sample_axis, layer)
        self.draws.append(draw)
        if not self.paired:
            return value.argmax(-1) if index else value
        if layer == 0:
            if halved and not all_close([p[self.samples :] for p in given], parameters):
                raise hidden_randomness_error(draw, self.coupling)
            both = torch.cat((value, self.coupling.counterfactual(draw)))
            if self.coupling.relaxes:
                draw.leaf = both.requires_grad_()
            return both
        if not has_sample_axis:
            return repeat(value, 2)
        changed = tuple(p[self.samples :] for p in given)
        return torch.cat((value, self.coupling.resample_downstream(draw, changed)))


@dataclass(eq=False, slots=True)
class Branch:
    """Blocks that leave the base run at the same draws: `values[index]` is `[blocks, n, ...]` for draw `index`."""

    values: dict[int, Tensor]

    @property
    def blocks(self) -> int:
        return len(next(iter(self.values.values())))

    def split(self) -> Iterator[Branch]:
        """Each block as a branch of its own."""
        for block in range(self.blocks):
            yield Branch({i: value[block : block + 1] for i, value in self.values.items()})


class CounterfactualRun:
    """Repeats the base run in every block, up to the draws at which the block's branch leaves it.

    Args:
        draws: the base run's.
        branches: ordered by where they leave it.
        samples: n, of each block.
    """

    scored = True
    biased = False
    relaxed = False

    def __init__(
        self,
        coupling: Coupling,
        draws: Sequence[BaseDraw],
        branches: Sequence[Branch],
        samples: int,
        *,
        loop: bool,
    ) -> None:
        self.name = coupling.name
        self.coupling = coupling
        self.draws = draws
        self.branches = branches
        self.samples = samples
        self.loop = loop
        self.first = [min(branch.values) for branch in branches]
        self.last = [max(branch.values) for branch in branches]
        self.offsets = [0, *accumulate(branch.blocks for branch in branches)]
        counted: Counter[str] = Counter()
        self.index: dict[tuple[str, int], int] = {}
        for i, draw in enumerate(draws):
            self.index[draw.site, counted[draw.site]] = i
            counted[draw.site] += 1
        self.seen: Counter[str] = Counter()
        # The first index drawn softly, if any.
        self.soft = ""
        # Of each base draw in this run's trace.
        self.positions: dict[int, int] = {}

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        index = self.index.get((site, self.seen[site]))
        position = self.seen.total()
        self.seen[site] += 1
        # The base run did not come here.
        if index is None:
            return distribution.sample(shape)
        self.positions[index] = position
        draw, total = self.draws[index], self.offsets[-1]
        left, leaving = bisect_left(self.last, index), bisect_left(self.first, index + 1)
        start, stop = self.offsets[left], self.offsets[leaving]
        parts = [self.downstream(draw, distribution, start)] if start else []
        parts += [branch.values[index].flatten(0, 1) for branch in self.branches[left:leaving]]
        if stop < total:
            parts.append(repeat(draw.value, total - stop))
        if leaving > left and (draw.has_sample_axis or self.loop):
            self.check(draw, distribution, start)
        value = torch.cat(parts)
        if relaxed_index(self.coupling, distribution):
            self.soft = self.soft or site
            return soft_index(value, site, self.name)
        return value

    def downstream(self, draw: BaseDraw, distribution: Distribution, blocks: int) -> Tensor:
        """The draw in the first `blocks` blocks, which have already left the base run."""
        repeated = draw.repeated(blocks)
        if not (draw.has_sample_axis or self.loop):
            return repeated.value
        family = self.coupling.family(draw.site, distribution)
        parameters = family.parameters(base_of(distribution))
        if draw.has_sample_axis:
            parameters = tuple(p[: blocks * self.samples] for p in parameters)
        if family != draw.family or parameters[0].shape != repeated.parameters[0].shape:
            lead = SCALAR if draw.has_sample_axis else torch.Size((self.samples,))
            value = distribution.sample(lead)
            index = relaxed_index(self.coupling, distribution)
            return one_hot(value, parameters[0].shape[-1]).to(parameters[0]) if index else value
        return self.coupling.resample_downstream(repeated, parameters)

    def check(self, draw: BaseDraw, distribution: Distribution, block: int) -> None:
        """Refuse a block that leaves here but did not arrive as the base run did: hidden randomness."""
        now = draw.family.parameters(base_of(distribution))
        if draw.has_sample_axis:
            now = tuple(p[block * self.samples : (block + 1) * self.samples] for p in now)
        if not all_close(now, draw.parameters):
            raise hidden_randomness_error(draw, self.coupling)


def relaxed_index(coupling: Coupling, distribution: Distribution) -> bool:
    """Whether a draw is an index that counterfactual runs relax: inside it is a one-hot draw."""
    return coupling.relaxes and isinstance(base_of(distribution), Categorical)
