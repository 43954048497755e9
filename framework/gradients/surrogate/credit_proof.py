"""The proof of what each cost of a program was made from: one run with its operations followed.

The elements of each draw are variables (`framework.recording.element_codes`), and each draw depends on what its
log-probability reads, however it is sampled. What cannot be followed is not proved.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.parameters import Parameters
from framework.program import Program
from framework.randomness import restore_states, save_states
from framework.recording.context import Context
from framework.recording.element_codes import ElementCode
from framework.recording.propagation import Mask, everything
from framework.recording.provenance import NotProved, Provenance
from framework.recording.rule import Rule, Rules
from framework.recording.trace import Trace, element_distribution

# For each element axis of a draw the cost's element axis that follows it; None: none does.
Follow = tuple[int | None, ...]
# For each cost, the scored draws that it is charged to, by number.
Relations = tuple[dict[int, Follow], ...]

# Of the run that is followed: what holds for these holds for more, whose masks would be large.
SAMPLES = 3


def prove(
    program: Program, trace: Trace, rules: Rules, parameters: Parameters, batch: Any
) -> Relations | None:
    """What each cost is made from; None where that is not proved, or charges every cost to all draws before it.

    Torch's random streams are as before afterwards.
    """
    draws = CodedDraws(trace)

    def function(context: Context, parameters: Parameters, batch: Any) -> None:
        if context.dry_run:
            program.function(context, parameters, batch)
            return
        with draws.provenance.following():
            program.function(context, parameters, batch)

    states, samples = save_states(), min(SAMPLES, trace.shape[0])
    try:
        followed = replace(program, function=function, checked=False).run(
            draws.rules(rules), parameters, batch, samples=samples
        )[0]
        relations = read_off(trace, followed, draws)
    except Exception:
        # Not to be followed; a mistake of the program itself would have ended the run before.
        return None
    finally:
        restore_states(states)
    return None if relations == charged_in_full(trace) else relations


class CodedDraws:
    """The draws of a followed run.

    Args:
        trace: an earlier run, whose draws must come again.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.codes: list[ElementCode] = []
        first = 0
        for draw in trace.draws:
            self.codes.append(ElementCode(first, trace.element_shape(draw)))
            first += self.codes[-1].count
        self.provenance = Provenance(first, lasting=True)
        # Of those that were not made earlier, by number.
        self.values: dict[int, Tensor] = {}

    def rules(self, rules: Rules) -> Rules:
        """The same rules, whose draws are marked."""
        return lambda site: CodedRule(rules(site), self)

    def marked(self, site: str, distribution: Distribution, value: Tensor) -> Tensor:
        """A draw with its elements marked.

        Raises:
            NotProved: it is not one of the earlier run's.
        """
        provenance = self.provenance
        begin = max(self.values, default=-1) + 1
        names = [draw.name for draw in self.trace.draws[begin:]]
        if site not in names:
            raise NotProved(f"draw '{site}' is not made in every run")
        number = begin + names.index(site)
        value = value.clone()
        elements = element_distribution(distribution)
        with provenance.pause():
            # As if it had been drawn otherwise.
            hard = value.detach().clone()
        log_prob = elements.log_prob(hard)
        with provenance.pause():
            lead = len(self.trace.draws[number].axes.of(self.trace.shape))
            provenance.mark(value, self.mask(self.codes[number], value, log_prob, lead))
        self.values[number] = value
        return value

    def mask(self, code: ElementCode, value: Tensor, log_prob: Tensor, lead: int) -> Mask:
        """What each element of a draw depends on: its own variables, and what its log-probability depends on."""
        total, shape = self.provenance.variables, tuple(log_prob.shape)
        inherited = self.provenance.of(log_prob)
        # Else its elements are not those of the log-probability.
        apart = shape == value.shape[: len(shape)] and shape[lead:] == code.shape
        own = code.mask(total, apart=apart)
        if not apart:
            own = everything([(value, own)], value.shape)
            return (
                own if inherited is None else own | everything([(log_prob, inherited)], value.shape)
            )
        event = [1] * (value.dim() - len(shape))
        own = own.reshape(total, *[1] * lead, *code.shape, *event)
        if inherited is not None:
            own = own | inherited.reshape(total, *shape, *event)
        return own.expand(total, *value.shape)


class CodedRule:
    """A rule whose draws are marked."""

    def __init__(self, rule: Rule, draws: CodedDraws) -> None:
        self.name, self.scored = rule.name, rule.scored
        self.biased, self.relaxed = rule.biased, rule.relaxed
        self.rule, self.draws = rule, draws

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        with self.draws.provenance.trusting():
            value = self.rule.draw(site, distribution, shape)
            return self.draws.marked(site, distribution, value)


def read_off(trace: Trace, followed: Trace, draws: CodedDraws) -> Relations:
    """What each cost is made from, as far as the estimator charges by it.

    Args:
        trace: a run as the estimator sees it.
        followed: the run whose operations were followed.

    Raises:
        NotProved: they are not runs of the same draws and costs.
    """
    values = {n: draw.value for n, draw in enumerate(followed.draws) if n in draws.values}
    same = all(values.get(n) is value for n, value in draws.values.items())
    if outline(trace) != outline(followed) or not same:
        raise NotProved("another run has other draws or costs")
    scored = [n for n, draw in enumerate(followed.draws) if draw.rule.scored]
    relations = []
    for cost in followed.costs:
        mask = draws.provenance.of(cost.value)
        lead = len(cost.axes.of(followed.shape))
        if mask is not None and lead:
            mask = mask.flatten(1, lead).any(1)
        charged: dict[int, Follow] = {}
        for i, number in enumerate(scored[: cost.position]):
            # What was made from a draw made earlier is not known; a program's own baseline is of all that follows.
            if number not in draws.values or trace.draws[number].baseline is not None:
                charged[i] = mixed(trace, i)
                continue
            follow = None if mask is None else draws.codes[number].followed(mask)
            if follow is not None:
                charged[i] = follow
        relations.append(charged)
    return tuple(relations)


def charged_in_full(trace: Trace) -> Relations:
    """Every cost charged to all scored draws before it, their elements together."""
    return tuple({i: mixed(trace, i) for i in range(cost.position)} for cost in trace.costs)


def mixed(trace: Trace, number: int) -> Follow:
    """No element axis of a draw is followed."""
    return (None,) * len(trace.element_shape(trace.scored[number]))


def outline(trace: Trace) -> Any:
    """The draws and costs of a run: names, axes, and shapes without the leading axes."""
    draws = tuple(
        (d.name, d.axes, d.rule.scored, tuple(d.value.shape[k:]), d.baseline is None)
        for d, k in ((d, len(d.axes.of(trace.shape))) for d in trace.draws)
    )
    costs = tuple(
        (c.name, c.position, c.axes, tuple(c.value.shape[len(c.axes.of(trace.shape)) :]))
        for c in trace.costs
    )
    return draws, costs
