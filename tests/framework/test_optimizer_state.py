"""An optimiser's state is saved by name, and one that does not fit is refused in one line before torch sees it."""

import re
from typing import Any

import pytest
import torch
from torch import nn

from framework.errors import UserError
from framework.optimizer_state import forget_rows, load_named_state, named_state
from framework.training.updates.optimization import adam, adamw, rmsprop, sgd


def parameters() -> dict[str, nn.Parameter]:
    torch.manual_seed(0)
    shapes = {"w": (3, 2), "b": (3,), "c": (3,)}
    return {name: nn.Parameter(torch.randn(shape)) for name, shape in shapes.items()}


def stepped(make, given, steps=3, **options):
    optimizer = make(list(given.values()), **options)
    for step in range(steps):
        for number, name in enumerate(sorted(given)):
            given[name].grad = torch.full_like(given[name], number + step + 1.0)
        optimizer.step()
    return optimizer


MAKERS: list[tuple[Any, dict[str, float]]] = [
    (adam, {}),
    (adamw, {}),
    (sgd, {"momentum": 0.9}),
    (sgd, {}),
    (rmsprop, {"momentum": 0.5}),
]


@pytest.mark.parametrize(("make", "options"), MAKERS)
def test_another_order_of_the_parameters_gets_the_right_moments(make, options):
    first = parameters()
    before = stepped(make, first, **options)
    saved = named_state(before, first)
    other = {name: nn.Parameter(first[name].detach().clone()) for name in ("c", "b", "w")}
    after = make(list(other.values()), **options)
    load_named_state(after, other, saved, [])
    for given, optimizer in ((first, before), (other, after)):
        for name in given:
            given[name].grad = torch.full_like(given[name], 0.5)
        optimizer.step()
    for name in first:
        assert torch.equal(first[name], other[name])


def test_a_checkpoint_by_position_is_read_in_the_saved_models_order():
    first = parameters()
    positional = stepped(adam, first).state_dict()
    other = {name: first[name] for name in ("c", "b", "w")}
    after = adam(list(other.values()))
    load_named_state(after, other, positional, ["w", "b", "buffer", "c"])
    assert torch.equal(after.state[first["c"]]["exp_avg"], positional["state"][2]["exp_avg"])
    with pytest.raises(UserError, match="counts other parameters than the task's"):
        load_named_state(after, other, positional, ["w", "b"])


def test_the_state_is_copied_and_the_options_stay_the_configurations():
    given = parameters()
    saved = named_state(stepped(adam, given), given)
    saved["param_groups"][0] |= {"betas": (5.0, 9.0), "fused": None}
    after = adam(list(given.values()))
    load_named_state(after, given, saved, [])
    assert after.param_groups[0]["betas"] == (0.9, 0.999)
    assert after.param_groups[0]["fused"] is True
    assert after.state[given["w"]]["exp_avg"] is not saved["state"]["w"]["exp_avg"]


WRONG = {
    "too short": (torch.zeros(1), "torch.float32 [1]"),
    "empty": (torch.zeros(0), "torch.float32 [0]"),
    "another shape": (torch.zeros(2, 3), "[2, 3]"),
    "another type": (torch.zeros(3, 2, dtype=torch.float64), "torch.float64 [3, 2]"),
    "sparse": (torch.zeros(3, 2).to_sparse(), "torch.sparse_coo"),
    "a number": (0.0, "float"),
    "nothing": (None, "NoneType"),
    "text": ("x", "str"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize(
    ("make", "key"), [(adam, "exp_avg"), (adamw, "exp_avg_sq"), (rmsprop, "square_avg")]
)
def test_a_moment_that_does_not_fit_is_refused_by_name(make, key, case):
    given = parameters()
    saved = named_state(stepped(make, given), given)
    saved["state"]["w"][key], said = WRONG[case]
    before = {name: value.detach().clone() for name, value in given.items()}
    with pytest.raises(
        UserError, match=rf"^checkpoint: the optimiser's '{key}' of 'w' is "
    ) as told:
        load_named_state(make(list(given.values())), given, saved, [])
    assert said in str(told.value)
    assert "expected torch.float32 [3, 2]" in str(told.value)
    assert all(torch.equal(before[name], given[name]) for name in given)


@pytest.mark.parametrize("moment", [torch.arange(6.0).view(2, 3).t(), torch.ones(1).expand(3, 2)])
def test_a_moment_lies_in_memory_as_its_parameter_does(moment):
    given = parameters()
    saved = named_state(stepped(adam, given), given)
    saved["state"]["w"]["exp_avg"] = moment
    after = adam(list(given.values()))
    load_named_state(after, given, saved, [])
    found = after.state[given["w"]]["exp_avg"]
    assert torch.equal(found, moment)
    assert found.stride() == given["w"].stride()


def test_steps_keys_names_and_forms_are_checked():
    given = parameters()
    saved = named_state(stepped(adam, given), given)
    state = saved["state"]
    for wrong, said in (
        ({"state": {"w": {**state["w"], "step": torch.zeros(0)}}}, "'step' of 'w' is torch.float32 [0]"),
        ({"state": {"w": {**state["w"], "step": 3}}}, "the optimiser's 'step' of 'w' is int"),
        ({"state": {"w": {"step": torch.tensor(1.0)}}}, "has ['step'], expected ['exp_avg', 'exp_avg_sq', 'step']"),
        ({"state": {"w": [1]}}, "of 'w' has list"),
        ({"state": {"v": state["w"]}}, "the optimiser's state of 'v', no parameter of it"),
        ({"state": [1]}, "no mapping of parameters' states"),
        ([], "no mapping of parameters' states"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=re.escape(said)):
            load_named_state(adam(list(given.values())), given, wrong, [])


def test_rows_that_start_elsewhere_have_no_moments_and_the_others_keep_theirs():
    weight, other = torch.ones(4, 2, requires_grad=True), torch.ones(3, requires_grad=True)
    optimizer = torch.optim.Adam([weight, other])
    (weight.square().sum() + other.sum()).backward()
    optimizer.step()
    kept = {name: value.clone() for name, value in optimizer.state[weight].items()}
    forget_rows(optimizer, {"weight": weight, "other": other}, {"weight": torch.tensor([1, 3])})
    for name in ("exp_avg", "exp_avg_sq"):
        found = optimizer.state[weight][name]
        assert found[[1, 3]].abs().sum() == 0
        assert torch.equal(found[[0, 2]], kept[name][[0, 2]])
    assert optimizer.state[weight]["step"] == kept["step"]
    assert optimizer.state[other]["exp_avg"].abs().sum() > 0
