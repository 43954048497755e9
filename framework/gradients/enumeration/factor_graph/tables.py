"""The tables of all factors from one run whose rows give the draws the values of a design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, OneHotCategorical

from framework.gradients.distributions.log_probability import log_probability
from framework.gradients.distributions.noise_families import base_of
from framework.gradients.distributions.support import Support
from framework.gradients.enumeration.factor_graph.design import Design
from framework.gradients.enumeration.factor_graph.graph import Scope
from framework.recording.trace import Draw

# How far a factor may differ between rows in which the draws that it depends on are the same: rounding.
ROUNDING = 1e-4


class Changed(Exception):
    """A run is not what the factor graph says; says where."""


class Form(Enum):
    """What a column's numbers are."""

    COST = "cost"
    LOGITS = "logits of a Bernoulli draw"
    LOG_PROBABILITIES = "log-probabilities of all values, on the last axis"


@dataclass(eq=False, slots=True)
class Column:
    """One factor in every row.

    Attributes:
        values: `[R, *batch]`, of log-probabilities `[R, *batch, K]`.
        scope: the variables of whose joint values a table is made.
    """

    name: str
    form: Form
    values: Tensor
    scope: Scope


def tables_of(columns: Sequence[Column], design: Design) -> list[Tensor]:
    """The table of each column, `[T, *batch]`, of draws' probabilities `[T, K, *batch]`; those of one shape together.

    Raises:
        Changed: a factor is not the same in rows in which its scope takes the same values.
    """
    groups: dict[tuple[object, ...], list[Column]] = {}
    for column in columns:
        values, size = column.values, len(design.rows[column.scope])
        key = (column.form, size, values.dtype, values.shape)
        groups.setdefault(key, []).append(column)
    tables: dict[int, Tensor] = {}
    for members in groups.values():
        chosen = chosen_rows(members, design)  # [C, T, ...]
        if members[0].form == Form.LOGITS:
            chosen = torch.stack([-chosen, chosen], 2).sigmoid()
        elif members[0].form == Form.LOG_PROBABILITIES:
            chosen = chosen.exp().movedim(-1, 2)
        tables.update(zip(map(id, members), chosen.unbind(0), strict=True))
    return [tables[id(column)] for column in columns]


def chosen_rows(columns: Sequence[Column], design: Design) -> Tensor:
    """The columns at the rows of their tables, `[C, T, ...]`."""
    each = torch.arange(len(columns)).unsqueeze(1)
    values = torch.stack([column.values for column in columns])  # [C, R, ...]
    with torch.no_grad():
        same = torch.stack([design.same[column.scope] for column in columns])
        close = torch.isclose(values[each, same], values, ROUNDING, ROUNDING, equal_nan=True)
        if not close.all():
            number = int((~close).flatten(1).any(1).nonzero()[0])
            raise Changed(f"{columns[number].name} changes with draws on which it did not depend")
    rows = torch.stack([design.rows[column.scope] for column in columns])
    return values[each, rows]


def columns_of(draw: Draw, support: Support, parents: Sequence[Scope], rows: int) -> list[Column]:
    """The factors of a draw's elements."""
    form, values = parameters_of(draw, support)
    lead = 1 + support.batch_axes
    trailing = values.shape[values.dim() - 1 :] if form == Form.LOG_PROBABILITIES else ()
    values = values.reshape(*values.shape[:lead], support.elements, *trailing)
    values = values.expand(rows, *values.shape[1:])
    return [
        Column(f"draw '{draw.name}'", form, element, scope)
        for element, scope in zip(values.unbind(lead), parents, strict=True)
    ]


def parameters_of(draw: Draw, support: Support) -> tuple[Form, Tensor]:
    """What tells the probabilities of a draw's values in each row, `[R, *batch, *rest]`, R = 1 where rows are alike."""
    base = base_of(draw.distribution)
    per_sample = len(base.batch_shape) == draw.value.dim() - len(base.event_shape)
    if isinstance(base, Bernoulli):
        return Form.LOGITS, base.logits if per_sample else base.logits.unsqueeze(0)
    if isinstance(base, Categorical | OneHotCategorical):
        return Form.LOG_PROBABILITIES, base.logits if per_sample else base.logits.unsqueeze(0)
    digits = torch.arange(len(support.values)).unsqueeze(1).expand(-1, support.elements)
    values = support.at_digits(digits, base, has_sample_axis=per_sample)
    log_probs = log_probability(base, values.unsqueeze(1))  # [K, 1 or R, *batch, *rest]
    return Form.LOG_PROBABILITIES, log_probs.movedim(0, -1)


def number_of_values(base: Distribution) -> int:
    """How many values each element of a finite draw can take."""
    if isinstance(base, Bernoulli):
        return 2
    if isinstance(base, Categorical):
        return int(base.param_shape[-1])
    return len(base.enumerate_support(expand=False))
