"""Which costs are charged to which draws, and to which of their elements: to those they were made from.

A cost teaches a draw nothing unless it was made from it: with ND whatever was not made from draw x,

    E[grad log p(x | parents) c(ND)] = E[ c(ND) E[grad log p(x | parents) | ND] ] = 0

so to leave the pair out changes no expectation and takes its variance away. The same holds for one element of a draw
and one element of a cost, because the elements of a distribution's batch shape are independent. (Schulman et al. 2015;
in Pyro, the plates of TraceGraph_ELBO declare it.)

What a cost is made from need not be declared, as `context.cost(..., elementwise=["z"])` does: one run of the program
with its operations followed (`framework.recording.provenance`) proves it, and what is not proved is charged. A program
that may do something else in another run (it reads numbers from tensors, keeps tensors, runs one sample at a time or
holds recorded steps) is charged as before, every cost to all draws before it, but for what it declares.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch

from framework.parameters import Parameters
from framework.program import Function, Program
from framework.randomness import restore_states, save_states
from framework.recording.axes import ALL
from framework.recording.provenance import Place, Provenance, Traced, Untraceable
from framework.recording.rule import Rules
from framework.recording.trace import Cost, Draw, Trace

# For each element axis of a draw the cost's element axis that follows it; None: none does.
Follow = tuple[int | None, ...]
# For each cost, the scored draws that it is charged to, by number.
Relations = tuple[dict[int, Follow], ...]


@dataclass(eq=False)
class Plan:
    """What one run proved; None: every cost is charged to all draws before it, as without a plan."""

    relations: Relations | None
    calls: int = 0
    # Python state decides what a program does, too: at these calls the proof is made again.
    again: int = 2


@dataclass(eq=False)
class Plans:
    """The plans of one function, by what can be seen of a run: draws, costs, parameters and plain Python values."""

    known: dict[Any, Plan] = field(default_factory=dict)
    # Nothing was to be gained when it was looked at first.
    plain: bool = False


PLANS: WeakKeyDictionary[Function, Plans] = WeakKeyDictionary()
# Of one function: a program whose draws differ from run to run is charged as before.
MOST_PLANS = 16


def relations_of(
    program: Program, trace: Trace, rules: Rules, parameters: Parameters, batch: Any
) -> Relations | None:
    """Which costs of a run are charged to which draws, proved or declared; None: each to all draws before it."""
    relations = proved(program, trace, rules, parameters, batch)
    if not any(cost.elementwise for cost in trace.costs):
        return relations
    return tuple(
        {i: declared(trace, cost, i, follow) for i, follow in charged.items()}
        for cost, charged in zip(trace.costs, relations or everything(trace), strict=True)
    )


def declared(trace: Trace, cost: Cost, number: int, follow: Follow) -> Follow:
    """How a cost follows a draw by the program's own word (`elementwise`); else as it was."""
    draw = trace.scored[number]
    # A baseline of the program's is of all that follows.
    if draw.name not in cost.elementwise or draw.baseline is not None:
        return follow
    return tuple(range(len(follow)))


def proved(
    program: Program, trace: Trace, rules: Rules, parameters: Parameters, batch: Any
) -> Relations | None:
    """What a run of the program shows of its costs.

    The program is run once more, with its operations followed, when such a run is seen for the first time; where that
    shows something to gain, also at its second, fourth, eighth ... call, with a warning if the program has changed.
    """
    if not trace.scored or program.one_sample_at_a_time or program.recorded_trajectories:
        return None
    if program.stateful or not may_gain(trace):
        return None
    try:
        plans = PLANS.get(program.function) or PLANS.setdefault(program.function, Plans())
    except TypeError:
        # A callable that cannot be a key.
        return None
    if plans.plain:
        return None
    signature = seen(program, trace, parameters, batch)
    plan = plans.known.get(signature)
    if plan is None:
        if len(plans.known) >= MOST_PLANS:
            return None
        plan = Plan(prove(program, trace, rules, parameters, batch))
        plans.plain = not plans.known and plan.relations is None
        plans.known[signature] = plan
    plan.calls += 1
    if plan.relations is not None and plan.calls == plan.again:
        plan.again *= 2
        verify(plan, prove(program, trace, rules, parameters, batch))
    return plan.relations


def verify(plan: Plan, relations: Relations | None) -> None:
    """Compare a plan with a later proof: a program that changed is charged as before from then on."""
    if relations != plan.relations:
        warnings.warn(
            "the program's costs depend on other draws than in an earlier run with the same draws and costs, so that "
            "estimates since then may have been biased; from now on every cost is charged to all draws before it",
            stacklevel=2,
        )
        plan.relations = None


def may_gain(trace: Trace) -> bool:
    """Whether a cost could be charged to less than all draws before it."""
    if len(trace.draws) > 1:
        return True
    depth = len(trace.shape)
    return any(
        cost.value.dim() > depth or (cost.axes != ALL and cost.value.dim()) for cost in trace.costs
    )


def seen(program: Program, trace: Trace, parameters: Parameters, batch: Any) -> Any:
    """What tells programs apart that one function may be: all that is known without following its operations."""
    lead = [len(axes.of(trace.shape)) for axes in (d.axes for d in trace.draws)]
    draws = tuple(
        (d.name, d.axes, d.rule.scored, tuple(d.value.shape[k:]), d.baseline is None)
        for d, k in zip(trace.draws, lead, strict=True)
    )
    costs = tuple(
        (c.name, c.position, c.axes, tuple(c.value.shape[len(c.axes.of(trace.shape)) :]))
        for c in trace.costs
    )
    state = tuple(plain_values(batch)), tuple(flags(program.function))
    return draws, costs, tuple(parameters), len(trace.shape), trace.shape[0] == 1, state


def plain_values(batch: Any) -> Iterator[Any]:
    """Numbers, strings and such in a batch."""
    if isinstance(batch, str | int | float | bool | None):
        yield batch
    elif isinstance(batch, Mapping):
        for key, value in batch.items():
            yield key
            yield from plain_values(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from plain_values(value)
    elif hasattr(batch, "__dataclass_fields__"):
        for name in batch.__dataclass_fields__:
            yield from plain_values(getattr(batch, name))


def flags(function: Function) -> Iterator[Any]:
    """The Python values that a function reads from around it, and the switches and words of the objects there."""
    cells = getattr(function, "__closure__", None) or ()
    around = [getattr(function, "__self__", None)]
    for cell in cells:
        try:
            around.append(cell.cell_contents)
        except ValueError:
            continue
    for value in around:
        if isinstance(value, bool | int | float | str):
            yield value
            continue
        value = getattr(value, "__self__", value)
        for name, content in getattr(value, "__dict__", {}).items():
            if isinstance(content, bool | str):
                yield name, content
            elif isinstance(content, torch.nn.Module):
                yield name, content.training


def prove(
    program: Program, trace: Trace, rules: Rules, parameters: Parameters, batch: Any
) -> Relations | None:
    """Follow the program's operations in one run and read off what each cost is made from.

    Torch's random streams are as before afterwards.
    """
    states, provenance = save_states(), Provenance()
    try:
        with uncompiled(), provenance:
            traced = replace(program, checked=False).run(
                provenance.rules(rules), parameters, batch, samples=trace.shape[0]
            )[0]
            relations = read_off(trace, traced, provenance)
    except Exception:
        # Not to be followed; a mistake of the program itself would have ended the run before.
        return None
    finally:
        restore_states(states)
    return None if relations == everything(trace) else relations


def uncompiled() -> AbstractContextManager[Any]:
    """Compiled functions run as they are written, where there are any."""
    if "torch._dynamo" in sys.modules:
        stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
        return stance
    return nullcontext()


def everything(trace: Trace) -> Relations:
    """Every cost charged to all scored draws before it, their elements together."""
    return tuple({i: mixed(trace, i) for i in range(cost.position)} for cost in trace.costs)


def mixed(trace: Trace, number: int) -> Follow:
    return (None,) * len(trace.element_shape(trace.scored[number]))


def read_off(trace: Trace, traced: Trace, provenance: Provenance) -> Relations:
    """What each cost is made from, as far as the estimator charges by it.

    Args:
        trace: a run as the estimator sees it.
        traced: the run that was followed.

    Raises:
        Untraceable: they are not runs of the same draws and costs.
    """
    if outline(trace) != outline(traced):
        raise Untraceable("another run has other draws or costs")
    # A draw made earlier (`observe`) has no number, and what was made from it is not known.
    count = 0
    numbers: list[int | None] = []
    for draw in traced.draws:
        numbers.append(count if isinstance(draw.value, Traced) else None)
        count += isinstance(draw.value, Traced)
    scored = [n for n, draw in zip(numbers, traced.draws, strict=True) if draw.rule.scored]
    relations = []
    for cost, followed in zip(trace.costs, traced.costs, strict=True):
        origins = provenance.origins(followed.value)
        charged: dict[int, Follow] = {}
        for i, number in enumerate(scored[: cost.position]):
            draw = trace.scored[i]
            if number is None or draw.baseline is not None:
                # The program's baseline is of all that follows.
                charged[i] = mixed(trace, i)
            elif number in origins:
                charged[i] = elementwise(trace, draw, cost, origins[number])
        relations.append(charged)
    return tuple(relations)


def outline(trace: Trace) -> Any:
    """The draws and costs of a run, by name and shape."""
    draws = [(d.name, d.value.shape, d.axes, d.rule.scored) for d in trace.draws]
    return draws, [(c.name, c.value.shape, c.position, c.axes) for c in trace.costs]


def elementwise(trace: Trace, draw: Draw, cost: Cost, places: Sequence[Place | None]) -> Follow:
    """The cost's element axis that follows each element axis of the draw."""
    before, lead = len(draw.axes.of(trace.shape)), len(cost.axes.of(trace.shape))
    count, shape = len(trace.element_shape(draw)), cost.value.shape
    own = (*places[before:], *(None,) * count)[:count]
    return tuple(
        place.axis - lead
        if place is not None and place.axis >= lead and place.size == shape[place.axis] > 1
        else None
        for place in own
    )
