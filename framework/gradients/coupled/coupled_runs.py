"""Runs of a program with draws replaced: a first run, and partners that leave it at one layer of draws.

A partner copies the first run's draws before its layer, takes other values in it, and goes on behind it with the
first run's noise. Whatever changes in its cost is then the layer's doing; costs charged before the layer cancel.

A layer is a run of consecutive draws none of which depends on another: a draw whose parameters carry the sample axis
depends on an earlier draw and begins a new layer. Where one sample is run at a time,
dependence cannot be seen, so every draw is a layer.
Partners lie beside each other on the sample axis, `[blocks * n, *batch, ...]`: the first run brings the first layer's
partner with it, and one more run serves all other layers. K layers cost (K + 1) n evaluations.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.capabilities import alternatives
from framework.context import Context
from framework.errors import ProgramError
from framework.gradients.coupled.coupling import (
    ALONE,
    Coupling,
    Record,
    alike,
    own_randomness,
    repeat,
)
from framework.gradients.distributions.noise_families import base_of
from framework.gradients.distributions.refusal import refuse_bounds
from framework.parameters import Parameters
from framework.program import Program
from framework.relaxed import smoothing
from framework.rule import Plain
from framework.trace import Cost, Trace


class FirstRun:
    """Draws by noise and keeps a record; with `paired` the second half of the samples is the first layer's partner."""

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
        self.records: list[Record] = []

    def begin(self) -> None:
        self.records = []

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        family, carried = self.coupling.family(site, distribution), not shape
        given = family.parameters(base_of(distribution))
        own = tuple(p[: self.samples] for p in given) if carried and self.paired else given
        noise = family.noise(own, ALONE if carried else self.lead)
        value = family.value(own, noise)
        layer = self.records[-1].layer + (carried or self.loop) if self.records else 0
        record = Record(site, family, own, noise, value, carried, layer)
        self.records.append(record)
        if not self.paired:
            return value
        if layer == 0:
            if carried and not alike([p[self.samples :] for p in given], own):
                raise own_randomness(record, self.coupling)
            both = torch.cat((value, self.coupling.partner(record)))
            if self.coupling.relaxes:
                record.leaf = both.requires_grad_()
            return both
        if not carried:
            return repeat(value, 2)
        return torch.cat(
            (value, self.coupling.later(record, tuple(p[self.samples :] for p in given)))
        )


@dataclass(eq=False, slots=True)
class Branch:
    """Blocks that leave the first run at the same draws: `values[index]` is `[blocks, n, ...]` for record `index`."""

    values: dict[int, Tensor]

    @property
    def blocks(self) -> int:
        return len(next(iter(self.values.values())))

    def single(self) -> Iterator[Branch]:
        """Each block as a branch of its own."""
        for block in range(self.blocks):
            yield Branch({i: value[block : block + 1] for i, value in self.values.items()})


class Replay:
    """Repeats the first run in every block, up to the draws at which the block's branch leaves it."""

    scored = True
    biased = False
    relaxed = False

    def __init__(
        self,
        coupling: Coupling,
        records: Sequence[Record],
        branches: Sequence[Branch],
        samples: int,
        *,
        loop: bool,
    ) -> None:
        self.name = coupling.name
        self.coupling = coupling
        self.records = records
        self.branches = branches  # ordered by where they leave
        self.samples = samples
        self.loop = loop
        self.first = [min(branch.values) for branch in branches]
        self.last = [max(branch.values) for branch in branches]
        self.offsets = [0, *accumulate(branch.blocks for branch in branches)]
        seen: Counter[str] = Counter()
        self.index: dict[tuple[str, int], int] = {}
        for i, record in enumerate(records):
            self.index[record.site, seen[record.site]] = i
            seen[record.site] += 1
        self.begin()

    def begin(self) -> None:
        self.seen: Counter[str] = Counter()
        self.positions: dict[int, int] = {}  # of each record in this run's trace

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        index = self.index.get((site, self.seen[site]))
        position = self.seen.total()
        self.seen[site] += 1
        if index is None:  # the first run did not come here
            return distribution.sample(shape)
        self.positions[index] = position
        record, total = self.records[index], self.offsets[-1]
        left, own = bisect_left(self.last, index), bisect_left(self.first, index + 1)
        start, stop = self.offsets[left], self.offsets[own]
        parts = [self.behind(record, distribution, start)] if start else []
        parts += [branch.values[index].flatten(0, 1) for branch in self.branches[left:own]]
        if stop < total:
            parts.append(repeat(record.value, total - stop))
        if own > left and (record.carried or self.loop):
            self.check(record, distribution, start)
        return torch.cat(parts)

    def behind(self, record: Record, distribution: Distribution, blocks: int) -> Tensor:
        """The draw in the first `blocks` blocks, which have left the first run before it."""
        again = record.repeated(blocks)
        if not (record.carried or self.loop):
            return again.value
        family = self.coupling.family(record.site, distribution)
        parameters = family.parameters(base_of(distribution))
        if record.carried:
            parameters = tuple(p[: blocks * self.samples] for p in parameters)
        if family != record.family or parameters[0].shape != again.parameters[0].shape:
            return distribution.sample(torch.Size(() if record.carried else (self.samples,)))
        return self.coupling.later(again, parameters)

    def check(self, record: Record, distribution: Distribution, block: int) -> None:
        """A block that leaves here has come the same way as the first run, unless the program rolls dice of its own."""
        now = record.family.parameters(base_of(distribution))
        if record.carried:
            now = tuple(p[block * self.samples : (block + 1) * self.samples] for p in now)
        if not alike(now, record.parameters):
            raise own_randomness(record, self.coupling)


@dataclass(eq=False)
class Played:
    """A first run and what its partners cost.

    Attributes:
        records: the draws.
        objective: the hard objective, on the autograd graph: its derivative with the draws held fixed.
        returns: for each record the costs charged behind it in the first run, `[n, *batch]`.
        partners: the same in the partner of the record's layer; equal to `returns` where no partners were asked for.
        evaluations: how many samples of the objective were run.
        biased: whether the first run met a smooth operation or any run a lent derivative.
        hard: the hard objective's value: `objective`, or another run's where smooth operations had a part in it.
    """

    shape: tuple[int, ...]
    records: list[Record]
    objective: Tensor
    returns: list[Tensor]
    partners: list[Tensor]
    evaluations: int
    biased: bool
    hard: Tensor

    @property
    def data(self) -> int:
        """Samples times data: what the objective is a mean over."""
        return torch.Size(self.shape).numel()


def play_layers(
    program: Program,
    parameters: Parameters,
    batch: Any,
    coupling: Coupling,
    samples: int,
    *,
    partners: bool = True,
) -> Iterator[Played]:
    """Run the program with a partner for each layer: once, or once for each sample one sample at a time.

    Args:
        partners: False: the first run only.
    """
    refuse_recorded(program, coupling)
    for _ in range(samples if program.one_sample_at_a_time else 1):
        n = 1 if program.one_sample_at_a_time else samples
        with smoothing() as all_runs:
            with smoothing() as first_run:
                paired = partners and not program.one_sample_at_a_time
                played = play(program, parameters, batch, coupling, n, paired=paired)
            if first_run.used and paired and coupling.relaxes:
                # The relaxed draws beside it may have made the first run smooth: let it be alone.
                paired = False
                with smoothing() as first_run:
                    played = play(program, parameters, batch, coupling, n, paired=paired)
            if partners:
                with torch.set_grad_enabled(coupling.relaxes):
                    add_partners(played, program, parameters, batch, coupling, paired)
        played.biased = first_run.used or all_runs.lent
        if first_run.used:
            with torch.no_grad():
                (trace,) = program.run(lambda site: Plain(), parameters, batch, samples=n)
            played.hard = trace.objective()
            played.evaluations += n
        yield played


def play(
    program: Program,
    parameters: Parameters,
    batch: Any,
    coupling: Coupling,
    n: int,
    *,
    paired: bool,
) -> Played:
    """The first run of n samples; `paired`: with the first layer's partner beside it."""
    blocks = 2 if paired else 1
    first = FirstRun(coupling, n, paired=paired, loop=program.one_sample_at_a_time)
    trace = run(program, first, parameters, batch, blocks * n)
    refuse_observed(trace, first.records, coupling)
    costs = costs_behind(trace, blocks)
    mean = objective(trace, blocks, coupling)[: 1 if coupling.relaxes else blocks].mean()
    return Played(
        shape=(n, *trace.shape[1:]),
        records=first.records,
        objective=mean,
        returns=pick(costs, 0),
        partners=pick(costs, blocks - 1),
        evaluations=blocks * n,
        biased=False,
        hard=mean.detach(),
    )


def add_partners(
    played: Played,
    program: Program,
    parameters: Parameters,
    batch: Any,
    coupling: Coupling,
    paired: bool,
) -> None:
    """Run the partners of the layers that the first run did not bring with it."""
    branches = []
    for layer, members in groupby(enumerate(played.records), lambda item: item[1].layer):
        if layer > 0 or not paired:
            branches.append(Branch({i: other_value(coupling, record) for i, record in members}))
    for group in in_one_run(branches, loop=program.one_sample_at_a_time):
        costs = replayed(played, program, parameters, batch, coupling, group)
        for block, branch in enumerate(group):
            own = list(branch.values)
            for i, cost in zip(own, pick([costs[i] for i in own], block), strict=True):
                played.partners[i] = cost


def other_value(coupling: Coupling, record: Record) -> Tensor:
    """The draw in its layer's partner, `[1, n, ...]`."""
    value = coupling.partner(record)
    if coupling.relaxes:
        record.leaf = value.requires_grad_()
    return value.unsqueeze(0)


def in_one_run(branches: Sequence[Branch], *, loop: bool) -> Iterator[Sequence[Branch]]:
    """The branches that one run can serve: all of them, or one block at a time one sample at a time."""
    if loop:
        for branch in branches:
            for block in branch.single():
                yield [block]
    elif branches:
        yield branches


def replayed(
    played: Played,
    program: Program,
    parameters: Parameters,
    batch: Any,
    coupling: Coupling,
    branches: Sequence[Branch],
) -> dict[int, Tensor]:
    """Run the branches at once; returns for each record the costs charged behind it, `[blocks, n, *batch]`."""
    n = played.shape[0]
    rule = Replay(coupling, played.records, branches, n, loop=program.one_sample_at_a_time)
    blocks = rule.offsets[-1]
    played.evaluations += blocks * n
    trace = run(program, rule, parameters, batch, blocks * n)
    for branch in branches:
        for i in branch.values:
            if i not in rule.positions:
                raise own_randomness(played.records[i], coupling)
    costs = costs_behind(trace, blocks)
    return {i: costs[position] for i, position in rule.positions.items()}


def run(
    program: Program, rule: FirstRun | Replay, parameters: Parameters, batch: Any, samples: int
) -> Trace:
    """One run; the rule is told when it begins, also where the program has to begin again."""

    def function(context: Context, parameters: Parameters, batch: Any) -> None:
        rule.begin()
        program.function(context, parameters, batch)

    told = replace(program, function=function)
    return told.run(lambda site: rule, parameters, batch, samples=samples)[0]


def costs_behind(trace: Trace, blocks: int) -> list[Tensor]:
    """For each draw the sum of the costs charged behind it, `[blocks, n, *batch]`; draws may share a tensor."""
    if not trace.draws:
        return []
    charged: dict[int, Tensor] = {}
    for cost in trace.costs:
        led = spread(trace, cost, blocks)
        charged[cost.position] = charged[cost.position] + led if cost.position in charged else led
    nothing = torch.zeros((), device=trace.draws[0].value.device)
    behind = nothing.expand(blocks, trace.shape[0] // blocks, *trace.shape[1:])
    found = []
    for position in range(len(trace.draws), 0, -1):
        if position in charged:
            behind = behind + charged[position]
        found.append(behind)
    return found[::-1]


def pick(costs: Sequence[Tensor], block: int) -> list[Tensor]:
    """One block of each tensor, `[n, *batch]`; what was shared stays shared."""
    picked = {id(cost): cost[block] for cost in costs}
    return [picked[id(cost)] for cost in costs]


def objective(trace: Trace, blocks: int, coupling: Coupling) -> Tensor:
    """All costs and penalties of each sample and datum, `[blocks, n, *batch]`."""
    refuse_bounds(trace, coupling.name)
    led = [spread(trace, term, blocks) for term in trace.charges()]
    return led[0] if len(led) == 1 else torch.stack(led).sum(0)


def spread(trace: Trace, cost: Cost, blocks: int) -> Tensor:
    """A cost of each sample and datum, `[blocks, n, *batch]`."""
    led = trace.leading(cost.value, f"cost '{cost.name}'").expand(trace.shape)
    return led.reshape(blocks, -1, *trace.shape[1:])


def refuse_recorded(program: Program, coupling: Coupling) -> None:
    """Refuse programs of recorded episodes: they cannot be run with other draws."""
    if program.recorded_trajectories:
        raise ProgramError(
            f"'{coupling.name}' needs to play the episodes itself, and the program holds recorded ones; "
            f"{alternatives(recorded_actions=True)}"
        )


def refuse_observed(trace: Trace, records: Sequence[Record], coupling: Coupling) -> None:
    """Refuse draws made earlier, of which there is no record."""
    if len(trace.draws) > len(records):
        made = [*(record.site for record in records), ""]
        site = next(d.name for d, own in zip(trace.draws, made, strict=False) if d.name != own)
        raise ProgramError(
            f"draw '{site}' was made earlier, and '{coupling.name}' needs to draw it itself; "
            f"{alternatives(recorded_actions=True)}"
        )
