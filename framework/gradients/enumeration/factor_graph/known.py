"""Which programs have been probed and with what result, so that a training probes once and not at every step.

A factor graph holds as long as a program takes the same course. It is kept only where parameters and data could not
change it (see `Provenance.reads`); their shapes are part of the key, and every run compares its draws and costs with
the graph, and each factor's values in many rows, so that what a program keeps outside does not change it unseen. That
nothing could be proved is kept, too: not to eliminate is right in any case.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch

from framework.batch import leaves
from framework.gradients.enumeration.factor_graph.elimination import Elimination
from framework.parameters import Parameters
from framework.program import Program

Key = tuple[object, ...]

# Of each program, of other shapes of its parameters and data.
KEPT = 16

_known: WeakKeyDictionary[Program, dict[Key, Elimination | str]] = WeakKeyDictionary()


def known_elimination(
    program: Program, parameters: Parameters, batch: Any, limit: int
) -> Elimination | str | None:
    """What was remembered of the program with parameters and data of these shapes, for tables of this size."""
    known = _known.get(program)
    return None if known is None else known.get(key_of(program, parameters, batch, limit))


def remember(
    found: Elimination | str,
    program: Program,
    parameters: Parameters,
    batch: Any,
    limit: int,
) -> None:
    """Keep how a program's draws are eliminated, where its course is fixed, or why they are not."""
    if isinstance(found, Elimination) and not found.graph.fixed:
        return
    known = _known.setdefault(program, {})
    while len(known) >= KEPT:
        del known[next(iter(known))]
    known[key_of(program, parameters, batch, limit)] = found


def key_of(program: Program, parameters: Parameters, batch: Any, limit: int) -> Key:
    """What the course of a program may depend on besides its draws."""
    shapes = tuple((name, value.shape, value.dtype) for name, value in parameters.items())
    data = tuple((tensor.shape, tensor.dtype) for tensor in leaves(batch))
    return program.function, program.batch_axes, shapes, data, limit, torch.is_grad_enabled()
