"""The gradient of a plain function's expected cost, by any registered estimator."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from framework.errors import ProgramError, UserError
from framework.gradients.estimator import Estimate
from framework.gradients.not_finite import what_is_not_finite
from framework.gradients.registered import make_estimator
from framework.gradients.selection.bias_interval import bias_interval
from framework.parameters import Given, named
from framework.program import Function, Program, as_program
from framework.randomness import fresh_key, seeded


def estimate(
    program: Function | Program,
    parameters: Given,
    batch: Any = None,
    *,
    estimator: str,
    samples: int | None = None,
    seed: int | None = None,
    bias_repeats: int = 0,
    checked: bool = True,
    **options: Any,
) -> Estimate:
    """Estimate the objective and its gradient.

    Args:
        program: `(context, parameters, batch) -> None`; a `Program` declares batch axes, or one sample at a time.
        parameters: tensors by name, a list or tuple of tensors, or a module; they are not changed. The program sees a
            mapping by name: a list's are called "0", "1", ..., a module's as in `named_parameters()` (call a module
            with them by `torch.func.functional_call(module, parameters, inputs)`).
        batch: passed to the program.
        estimator: any registered estimator's name, such as "rloo".
        samples: n, for estimators that sample; None: the estimator's default.
        seed: makes the estimate reproducible and leaves torch's generators as they were; None: draws from them.
        bias_repeats: how often to estimate again, 2 or more, to fill `bias_interval`; 0: it is not measured.
        checked: watch the program's first run for faults that make a gradient wrong without any other sign (see
            `framework.lint`): they are refused, or named in a warning.
        **options: the estimator's options, such as `sites={"z": "reparameterisation"}`.

    Returns:
        the estimate, with `gradients` by parameter name; a warning says what is not finite (`not_finite`), or why the
        gradient is of little use (`caution`).

    Raises:
        UserError: an unknown estimator or option.
        ProgramError: an estimator that cannot serve this program, parameters that are not tensors of real numbers, or
            an objective that depends on other tensors instead.
    """
    if type(bias_repeats) is not int or bias_repeats < 0 or bias_repeats == 1:
        raise UserError(f"bias_repeats = {bias_repeats!r}: expected 0, or 2 or more")
    with seeded(seed):
        chosen = make_estimator(estimator, samples, options)
        leaves = leaves_of(parameters)
        program = as_program(program, checked)
        result = chosen.backward(program, leaves, batch)
        refuse_others(leaves)
        for message in program.findings.read():
            warnings.warn(message, stacklevel=2)
        result.not_finite = what_is_not_finite(result, program, leaves, batch)
        for warning in filter(None, (result.caution, result.not_finite)):
            warnings.warn(warning, stacklevel=2)
        if bias_repeats:
            key = fresh_key() if seed is None else seed
            interval = bias_interval(
                chosen, program, leaves, batch, without=estimator, seed=key, repeats=bias_repeats
            )
            result.bias_interval = None if interval is None else (interval.low, interval.high)
    for name, leaf in leaves.items():
        result.gradients[name] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    return result


def refuse_others(leaves: Mapping[str, Tensor]) -> None:
    """Refuse an objective whose gradient went to other tensors than the parameters, and to none of these.

    Raises:
        ProgramError: says so.
    """
    if all(leaf.grad is None for leaf in leaves.values()):
        names = ", ".join(f"'{name}'" for name in leaves)
        raise ProgramError(
            f"the objective depends on none of the parameters that were given, {names}, but on a tensor that requires "
            "a gradient and is not among them: pass it in `parameters`, and let the program read it from there"
        )


def leaves_of(parameters: Given) -> dict[str, Tensor]:
    """Copies of the parameters, by name, whose gradients can be taken.

    Raises:
        ProgramError: there are none, or one is not of floating-point numbers.
    """
    given = named(parameters)
    if not given:
        raise ProgramError("parameters: there are none; expected at least one tensor")
    for name, value in given.items():
        if not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            raise ProgramError(
                f"parameters: '{name}' is of {kind}, which has no gradient; expected floating-point numbers, such as "
                "torch.tensor(1.0)"
            )
    return {name: value.detach().clone().requires_grad_() for name, value in given.items()}


def surrogate(
    program: Function | Program,
    parameters: Given,
    batch: Any = None,
    *,
    estimator: str,
    samples: int | None = None,
    seed: int | None = None,
    checked: bool = True,
    **options: Any,
) -> Tensor:
    """A scalar whose derivatives with respect to `parameters`, of any order, estimate the objective's.

    For `torch.autograd.grad(..., create_graph=True)`: Hessians, meta-gradients. Arguments as in `estimate`, but the
    parameters are used as they are.

    Raises:
        ProgramError: an estimator that knows first derivatives only.
    """
    with seeded(seed):
        chosen = make_estimator(estimator, samples, options)
        program = as_program(program, checked)
        found = chosen.surrogate(program, named(parameters), batch)[0]
        for message in program.findings.read():
            warnings.warn(message, stacklevel=2)
        return found
