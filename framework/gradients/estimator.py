"""What every estimator is: it leaves the gradient of a program's expected cost in `.grad`, like `loss.backward()`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from framework.capabilities import Capabilities, alternatives
from framework.errors import ProgramError
from framework.parameters import Parameters
from framework.plugin import registry
from framework.program import Program, RolloutPlan
from framework.replay import ReplayPlan


@dataclass(kw_only=True)
class Estimate:
    """The result of one call of an estimator.

    Attributes:
        objective: the hard objective's value, a detached scalar tensor; never a relaxed one.
        evaluations: how many samples of the objective were run.
        biased: whether the gradient's expectation may differ from the objective's gradient.
        gradients: filled by `framework.estimate`; in training the gradients are in `.grad`.
        caution: why the gradient is of little use though it is right in expectation; else empty.
        not_finite: filled by `framework.estimate`: what is not finite, and the cost or draw it comes from; else empty.
        bias_interval: filled by `framework.estimate(..., bias_repeats=32)`: where the relative bias along the gradient
            lies with 99 % confidence, by two references neither of which is the estimator itself (0: unbiased, -1: it
            sees nothing); None where it was not measured, or where no two references serve the program.
        extras: whatever else the estimator reports (baseline, temperature, clip fraction).
    """

    objective: Tensor
    evaluations: int
    biased: bool
    gradients: dict[str, Tensor] = field(default_factory=dict)
    caution: str = ""
    not_finite: str = ""
    bias_interval: tuple[float, float] | None = None
    extras: dict[str, Tensor | float] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """The objective as a number; waits for the device."""
        return float(self.objective)


class Estimator(ABC):
    """A way to obtain the gradient of a program's objective."""

    # Serves draws made earlier, such as recorded episodes; `Capabilities` sets it where it decorates a class.
    supports_recorded_actions: bool = False
    # The whole of that declaration; None of an estimator that a function makes.
    declared: Capabilities | None = None
    # Reads recorded steps with value predictions, used this often.
    rollouts: RolloutPlan | None = None
    # Runs the same operations in each call and reads no number: a call may be recorded and replayed.
    capturable: bool = False
    # Learns a critic from replayed steps, collected like this.
    replay: ReplayPlan | None = None

    @abstractmethod
    def backward(
        self,
        program: Program,
        parameters: Parameters,
        batch: Any = None,
        *,
        scale: float | Tensor = 1.0,
    ) -> Estimate:
        """Add `scale` times the gradient to each parameter's `.grad`.

        Raises:
            ProgramError: this estimator cannot serve this program; names the draw and estimators that can.
        """

    def surrogate(
        self, program: Program, parameters: Parameters, batch: Any = None
    ) -> tuple[Tensor, Estimate]:
        """A scalar whose derivatives, of any order, estimate the objective's.

        Raises:
            ProgramError: this estimator knows first derivatives only.
        """
        raise ProgramError(
            f"'{name_of(self)}' estimates first derivatives only; "
            f"{alternatives(what='know higher ones', higher_derivatives=True)}"
        )

    def repeated(self) -> None:
        """Take note that a call was replayed, where calls are counted."""

    def clip_groups(self, parameters: Parameters) -> list[list[Tensor]]:
        """Parameters whose gradients are clipped together: those of each loss, where there are several."""
        return [list(parameters.values())]

    def messages(self) -> list[str]:
        """Sentences for the user since the last call, such as a choice that was made and why."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """What must be saved for an exact resume: tensors and plain Python."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""


class SurrogateEstimator(Estimator):
    """An estimator that makes a surrogate and lets autograd differentiate it."""

    def backward(
        self,
        program: Program,
        parameters: Parameters,
        batch: Any = None,
        *,
        scale: float | Tensor = 1.0,
    ) -> Estimate:
        loss, estimate = self.surrogate(program, parameters, batch)
        differentiate(loss, scale)
        return estimate


def differentiate(loss: Tensor, scale: float | Tensor = 1.0) -> None:
    """Add `scale` times the derivatives of a surrogate to each parameter's `.grad`.

    Raises:
        ProgramError: it depends on no parameter, or on a tensor that was changed in place.
    """
    if not loss.requires_grad:
        raise ProgramError(
            "the objective depends on no parameter in a way this estimator can see; "
            f"{alternatives(what='need only its values', values_only=True)}"
        )
    if not (isinstance(scale, float) and scale == 1.0):
        loss = loss * scale
    try:
        loss.backward()
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        raise ProgramError(
            "the program changes a tensor in place whose value the gradient needs: write x = x + y in place of "
            "x += y, x.clamp(...) in place of x.clamp_(...), or change x.clone()"
        ) from error


def name_of(estimator: Estimator) -> str:
    """An estimator's registered name; its class's where it was never registered."""
    own = getattr(estimator, "name", None)
    if isinstance(own, str):
        return own
    kind = type(estimator)
    target = f"{kind.__module__}:{kind.__qualname__}"
    names = (c.name for c in registry().group("estimators") if c.target == target)
    return next(names, kind.__name__)


def first_order_only(estimator: str, site: str, soft: Tensor) -> Tensor:
    """Let a stand-in refuse derivatives of higher order: they would be its own and not the objective's."""

    def refuse(gradient: Tensor) -> None:
        if torch.is_grad_enabled():  # the backward pass itself is being recorded
            raise ProgramError(
                f"draw '{site}': '{estimator}' knows first derivatives only; "
                f"{alternatives(what='know higher ones', higher_derivatives=True)}"
            )

    if soft.requires_grad:
        soft.register_hook(refuse)
    return soft


def add_gradient(parameter: Tensor, gradient: Tensor) -> None:
    """Accumulate into `.grad`, as `backward` does."""
    if parameter.grad is None:
        parameter.grad = gradient.to(parameter.dtype).reshape(parameter.shape).clone()
    else:
        parameter.grad.add_(gradient.reshape(parameter.shape))


def trainable(parameters: Parameters) -> dict[str, Tensor]:
    """The parameters that need a gradient.

    Raises:
        ProgramError: there are none.
    """
    found = {name: value for name, value in parameters.items() if value.requires_grad}
    if not found:
        raise ProgramError(
            "parameters: none needs a gradient; expected at least one tensor that requires it"
        )
    return found


def mean_objective(values: list[Tensor]) -> Tensor:
    """The detached mean of several runs' objectives."""
    return (values[0] if len(values) == 1 else torch.stack(values).mean()).detach()
