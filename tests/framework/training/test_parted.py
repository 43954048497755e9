"""An objective that is no mean over its data is noticed before several processes divide them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal
from torch.nn import functional

from framework import ranks
from framework.errors import ProgramError
from framework.program import Program
from framework.training.parted import Parts, refuse_mixed_data
from framework.training.updates.batch_norm import SharedBatchNorm

MADE = torch.Generator().manual_seed(0)
ROWS = torch.randn(9, 4, generator=MADE)
PARAMETERS = {
    "w": torch.randn(4, 3, generator=MADE).requires_grad_(),
    "head": torch.zeros(3, 3).requires_grad_(),
}
NORM = SharedBatchNorm(3)


def values(parameters: Any, batch: Tensor) -> Tensor:
    features: Tensor = batch @ parameters["w"]
    return features.square().sum(-1)


def chosen(batch: Tensor) -> Tensor:
    return (batch[:, 0] > 0).float()


def nearest(features: Tensor) -> Tensor:
    return functional.cross_entropy(features @ features.T, torch.arange(len(features)))


def each(context: Any, p: Any, batch: Tensor) -> None:
    context.cost(values(p, batch))
    context.penalty(p["w"].square().sum(), "decay")


def mean(context: Any, p: Any, batch: Tensor) -> None:
    context.cost(values(p, batch).mean())


def total(context: Any, p: Any, batch: Tensor) -> None:
    context.cost(values(p, batch).sum())


def by_the_largest(context: Any, p: Any, batch: Tensor) -> None:
    context.cost(values(p, batch) / values(p, batch).max())


def contrastive(context: Any, p: Any, batch: Tensor) -> None:
    context.cost(nearest(batch @ p["w"]))


def contrastive_of_all(context: Any, p: Any, batch: Tensor) -> None:
    context.cost(nearest(ranks.all_rows(batch @ p["w"])))


def by_the_chosen(context: Any, p: Any, batch: Tensor) -> None:
    context.cost((values(p, batch) * chosen(batch)).sum() / chosen(batch).sum())


def by_the_chosen_of_all(context: Any, p: Any, batch: Tensor) -> None:
    count, data = ranks.summed(chosen(batch).sum()), ranks.total(len(batch))[0]
    context.cost(values(p, batch) * chosen(batch) / count * data)


def all_alike_at_first(context: Any, p: Any, batch: Tensor) -> None:
    """A classifier that begins with zeros: the same cost for each datum."""
    of_each = functional.cross_entropy(
        batch @ p["w"] @ p["head"], batch[:, :3].argmax(-1), reduction="none"
    )
    context.cost((of_each * chosen(batch)).sum() / chosen(batch).sum())


def standardised(context: Any, p: Any, batch: Tensor) -> None:
    found = values(p, batch)
    context.cost((found - found.mean().detach()) / found.std().detach())


def centred(context: Any, p: Any, batch: Tensor) -> None:
    """Of another value for each part, and of the same gradient."""
    context.cost(values(p, batch) - values(p, batch).mean().detach())


def drawn(context: Any, p: Any, batch: Tensor) -> None:
    context.cost(context.sample("z", Normal(batch @ p["w"], 1.0)).square().sum(-1))


def contrastive_draws(context: Any, p: Any, batch: Tensor) -> None:
    z = context.sample("z", Normal(batch @ p["w"], 0.1))
    context.cost(-(z @ z.mT).log_softmax(-1).diagonal(dim1=1, dim2=2))


def dropped(context: Any, p: Any, batch: Tensor) -> None:
    context.cost(functional.dropout(batch @ p["w"], 0.5).square().sum(-1))


def contrastive_dropped(context: Any, p: Any, batch: Tensor) -> None:
    context.cost(nearest(functional.dropout(batch @ p["w"], 0.5)))


def normalised(context: Any, p: Any, batch: Tensor) -> None:
    context.cost(NORM(batch @ p["w"]).tanh().sum(-1).square())


def normalised_by_hand(context: Any, p: Any, batch: Tensor) -> None:
    features = batch @ p["w"]
    context.cost(((features - features.mean(0)) / features.std(0)).tanh().sum(-1).square())


def difference(function: Callable[..., None], **axes: Any) -> str:
    return Parts(Program(function, batch_axes=1, **axes), PARAMETERS, ROWS).difference()


@pytest.mark.parametrize(
    "function",
    [each, mean, centred, contrastive_of_all, by_the_chosen_of_all, drawn, dropped, normalised],
)
def test_a_mean_over_data_is_none_the_worse_for_parts(function):
    assert difference(function) == ""


def test_nor_is_a_program_that_runs_one_sample_at_a_time():
    assert difference(drawn, one_sample_at_a_time=True) == ""


@pytest.mark.parametrize(
    "function",
    [
        *(total, by_the_largest, contrastive, by_the_chosen, contrastive_draws),
        *(contrastive_dropped, normalised_by_hand),
    ],
)
def test_what_compares_data_is_another_objective_in_parts(function):
    assert difference(function)


@pytest.mark.parametrize("function", [all_alike_at_first, standardised])
def test_where_the_values_are_equal_the_gradients_tell(function):
    assert "whose gradient of a batch" in difference(function)


def test_it_leaves_random_numbers_and_running_means_as_they_were():
    states = torch.get_rng_state()
    before = {name: values.clone() for name, values in NORM.state_dict().items()}
    difference(normalised)
    difference(drawn)
    assert torch.equal(torch.get_rng_state(), states)
    assert all(torch.equal(values, before[name]) for name, values in NORM.state_dict().items())


def refused(function: Callable[..., None], batch: Any = ROWS, **axes: Any) -> list[str]:
    """What is noted of a program that is not refused."""
    program = Program(function, **{"batch_axes": 1, **axes})
    refuse_mixed_data(program, PARAMETERS, batch)
    return program.findings.read()


def test_a_refusal_says_what_differs_and_what_serves_all():
    with pytest.raises(ProgramError, match=r" for a batch, .* framework\.ranks\.all_rows"):
        refused(total)


def test_what_is_not_to_be_run_again_or_has_no_data_is_left_alone():
    def fails(context: Any, p: Any, batch: Any) -> None:
        raise AssertionError

    for axes in ({"stateful": True}, {"batch_axes": 0}, {"checked": False}):
        assert refused(fails, **axes) == []
    assert refused(fails, ROWS[:1]) == []


def test_a_program_for_batches_of_one_size_is_named():
    def fixed(context: Any, p: Any, batch: Tensor) -> None:
        context.cost(values(p, batch) + torch.ones(9))

    [said] = refused(fixed)
    assert "cannot be run on half of a batch" in said


@dataclass
class Ragged:
    """Rows, and things in them."""

    rows: Tensor
    things: Tensor
    row: Tensor

    def part(self, own: slice) -> "Ragged":
        here = (self.row >= own.start) & (self.row < own.stop)
        return Ragged(self.rows[own], self.things[here], self.row[here] - own.start)


def test_a_batch_may_divide_itself():
    def of_things(context: Any, p: Any, batch: Ragged) -> None:
        context.cost(values(p, batch.rows).index_add(0, batch.row, batch.things))

    assert refused(of_things, Ragged(ROWS, torch.arange(3.0), torch.tensor([0, 4, 4]))) == []
    [said] = refused(of_things, {"rows": ROWS, "things": torch.arange(3.0)})
    assert "a tensor of shape [3] in a batch of 9 data" in said
