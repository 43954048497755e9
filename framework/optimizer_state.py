"""An optimiser's state by parameter name, and its check before it is loaded.

The fused kernels of torch look at no shape: a moment that does not fit its parameter writes past its memory. What each
parameter's state must look like is asked of the optimiser itself, by one step on a parameter of the same kind.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from framework.errors import UserError
from framework.sharding import divided_as, is_divided


def named_state(optimizer: Optimizer, parameters: Mapping[str, Tensor]) -> dict[str, Any]:
    """`optimizer.state_dict()` with the parameters' names in the place of their positions."""
    state = optimizer.state_dict()
    names = names_by_position(optimizer, parameters)
    return {
        "state": {names[position]: kept for position, kept in state["state"].items()},
        "param_groups": [
            {**group, "params": [names[position] for position in group["params"]]}
            for group in state["param_groups"]
        ],
    }


def forget_rows(
    optimizer: Optimizer, parameters: Mapping[str, Tensor], rows: Mapping[str, Tensor]
) -> None:
    """Zero what the optimiser keeps of rows of parameters, such as the moments of what now starts elsewhere.

    Args:
        rows: numbers along the first axis, or a mask of it, by parameter.
    """
    for name, which in rows.items():
        parameter = parameters[name]
        for kept in optimizer.state.get(parameter, {}).values():
            if isinstance(kept, Tensor) and kept.shape == parameter.shape:
                kept[which] = 0


def load_named_state(
    optimizer: Optimizer, parameters: Mapping[str, Tensor], saved: Any, order: list[str]
) -> None:
    """Put a saved state back, each parameter's by its name, once all of it has been checked.

    Args:
        order: the names of the saved model's tensors; a checkpoint of an earlier version holds positions among them.

    Raises:
        UserError: a name, shape, dtype or group that is not this optimiser's.
    """
    if not isinstance(saved, Mapping) or not isinstance(saved.get("state"), Mapping):
        raise UserError("checkpoint: the optimiser's state is no mapping of parameters' states")
    kept = saved["state"]
    names = names_by_position(optimizer, parameters)
    if any(isinstance(position, int) for position in kept):
        kept = by_name(optimizer, kept, names, order)
    if unknown := [name for name in kept if name not in names]:
        raise UserError(f"checkpoint: the optimiser's state of '{unknown[0]}', no parameter of it")
    alone = [{**g, "params": [p]} for g in optimizer.param_groups for p in g["params"]]
    taken: dict[int, dict[str, Any]] = {}
    for place, (name, group) in enumerate(zip(names, alone, strict=True)):
        if name in kept:
            # One at a time: it may be large.
            expected = fresh_state(optimizer, group)
            check_state(name, kept[name], expected)
            taken[place] = {key: as_own(kept[name][key], own) for key, own in expected.items()}
    # The options are the configuration's, but for the rate that the schedule has reached.
    groups = optimizer.state_dict()["param_groups"]
    for group, rate in zip(groups, rates(saved.get("param_groups")), strict=False):
        group["lr"] = rate
    optimizer.load_state_dict(
        {
            "state": taken,
            "param_groups": groups,
        }
    )


def rates(groups: Any) -> list[float]:
    """The saved learning rates, none where they are no finite numbers."""
    if not isinstance(groups, list):
        return []
    found = [group.get("lr") for group in groups if isinstance(group, Mapping)]
    known = [rate for rate in found if isinstance(rate, float) and 0 <= rate < math.inf]
    return known if len(known) == len(found) else []


def names_by_position(optimizer: Optimizer, parameters: Mapping[str, Tensor]) -> list[str]:
    """The parameters' names in the order in which the optimiser numbers them."""
    names = {id(parameter): name for name, parameter in parameters.items()}
    return [names[id(p)] for group in optimizer.param_groups for p in group["params"]]


def by_name(
    optimizer: Optimizer, kept: Mapping[Any, Any], names: list[str], order: list[str]
) -> dict[str, Any]:
    """A state by position, as earlier versions saved it, by name: within a group in the order of the saved model.

    Raises:
        UserError: the parameters are not those of the saved model.
    """
    numbered: list[str] = []
    for group in optimizer.param_groups:
        members = names[len(numbered) : len(numbered) + len(group["params"])]
        numbered += [name for name in order if name in members]
    if sorted(numbered) != sorted(names) or not all(p in range(len(names)) for p in kept):
        raise UserError("checkpoint: the optimiser's state counts other parameters than the task's")
    return {numbered[position]: state for position, state in kept.items()}


def check_state(name: str, state: Any, expected: Mapping[str, Any]) -> None:
    """Check one parameter's state against what the optimiser makes of a parameter of its kind.

    Raises:
        UserError: names the parameter and what differs.
    """
    if not isinstance(state, Mapping) or set(state) != set(expected):
        have = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        raise UserError(
            f"checkpoint: the optimiser's state of '{name}' has {have}, expected {sorted(expected)}"
        )
    for key, value in expected.items():
        if (have := described(state[key])) != (wanted := described(value)):
            raise UserError(
                f"checkpoint: the optimiser's '{key}' of '{name}' is {have}, expected {wanted}"
            )


def fresh_state(optimizer: Optimizer, group: dict[str, Any]) -> dict[str, Any]:
    """What the optimiser keeps for a parameter after its first step."""
    (parameter,) = group["params"]
    stand_in = torch.zeros_like(parameter, requires_grad=True)
    stand_in.grad = torch.zeros_like(stand_in)
    probe = type(optimizer).__new__(type(optimizer))
    probe.__setstate__(
        {
            "defaults": optimizer.defaults,
            "state": defaultdict(dict),
            "param_groups": [{**group, "params": [stand_in]}],
        }
    )
    probe.step()
    return dict(probe.state[stand_in])


def described(value: Any) -> str:
    """A tensor's shape and dtype, or the type of something else."""
    if isinstance(value, Tensor):
        plain = value.layout == torch.strided and not value.is_quantized
        layout = "" if plain else f" of layout {value.layout}"
        return f"{value.dtype} {list(value.shape)}{layout}"
    return type(value).__name__


def as_own(value: Any, own: Any) -> Any:
    """A copy that lies in memory, and is divided, as `own`: a fused kernel asks nothing."""
    if not isinstance(value, Tensor) or is_divided(value):
        return value
    return torch.empty_like(own).copy_(divided_as(value, own))


def empty_state(
    optimizer: Optimizer, parameters: Mapping[str, Tensor]
) -> dict[str, dict[str, Any]]:
    """What the optimiser keeps for each parameter after its first step, by the parameter's name."""
    names = names_by_position(optimizer, parameters)
    alone = [{**g, "params": [p]} for g in optimizer.param_groups for p in g["params"]]
    return {name: fresh_state(optimizer, g) for name, g in zip(names, alone, strict=True)}
