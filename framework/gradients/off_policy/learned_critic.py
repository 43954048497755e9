"""What estimators with a learned critic share: deciding, targets, the critic's loss, and who follows which gradient.

The critic Q(s, a) predicts the return of an action in a state and what follows under the current policy. Its parameters
are those whose names begin with `critics.`; all others are the policy's. One optimiser moves both: each loss is
differentiated with respect to its own parameters alone, and its gradient is clipped alone.

    critic loss = 1/2 sum_k mean (Q_k(s, a) - y)^2,     y = R + gamma^m V'(s')
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from framework.capabilities import alternatives
from framework.errors import ProgramError
from framework.gradients.estimator import Estimate, Estimator, name_of
from framework.gradients.off_policy.target_networks import TargetNetworks
from framework.parameters import Parameters
from framework.program import Program
from framework.recording.rule import Always, Rule
from framework.recording.trace import Trace
from framework.replay import Decisions, ReplayedSteps, ReplayPlan

CRITICS = "critics."


class LearnedCritic(Estimator):
    """An estimator that learns a critic from replayed steps.

    Attributes:
        replay: how steps are collected and replayed.
        targets: slow copies of the parameters that targets are computed with.
    """

    replay: ReplayPlan

    def __init__(self, replay: ReplayPlan, *, tau: float, target_every: int) -> None:
        self.replay = replay
        self.targets = TargetNetworks(tau, target_every)

    def backward(
        self,
        program: Program,
        parameters: Parameters,
        batch: Any = None,
        *,
        scale: float | Tensor = 1.0,
    ) -> Estimate:
        """Add `scale` times the gradient of each loss to the `.grad` of its own parameters."""
        if not isinstance(batch, ReplayedSteps):
            given = "there is no batch"
            if batch is not None:
                given = f"the batch is of type {type(batch).__name__}"
            raise ProgramError(
                f"'{name_of(self)}' learns from replayed steps (framework.replay.ReplayedSteps), and {given}; "
                f"{alternatives(what='need none')}"
            )
        self.targets.follow(self.followed(parameters))
        return self.update(program, parameters, batch, scale)

    def followed(self, parameters: Parameters) -> dict[str, Tensor]:
        """The parameters that have a slow copy."""
        return dict(parameters)

    @abstractmethod
    def update(
        self,
        program: Program,
        parameters: Parameters,
        steps: ReplayedSteps,
        scale: float | Tensor,
    ) -> Estimate:
        """The losses of one batch, differentiated."""

    def decide(
        self,
        program: Program,
        parameters: Parameters,
        rule: Rule,
        observations: Any,
        actions: Tensor | None = None,
    ) -> Trace:
        """Run the program on observations `[B, ...]`, with the actions taken there or those it draws by `rule`.

        Raises:
            ProgramError: it reports no action values.
        """
        trace = program.run(Always(rule), parameters, Decisions(observations, actions))[0]
        if trace.action_values is None:
            raise ProgramError(
                f"'{name_of(self)}' learns a critic, and the program reports none (context.action_values)"
            )
        return trace

    def clip_groups(self, parameters: Parameters) -> list[list[Tensor]]:
        """The critics' and the policy's: how long the one gradient is must not slow the other."""
        groups = critics_of(parameters), policy_of(parameters)
        return [list(group.values()) for group in groups if group]

    def state_dict(self) -> dict[str, Any]:
        return {"targets": self.targets.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.targets.load_state_dict(state["targets"])


def critics_of(parameters: Parameters) -> dict[str, Tensor]:
    """The critic's parameters by name."""
    return {name: value for name, value in parameters.items() if name.startswith(CRITICS)}


def policy_of(parameters: Parameters) -> dict[str, Tensor]:
    """All others."""
    return {name: value for name, value in parameters.items() if not name.startswith(CRITICS)}


def values_of(trace: Trace) -> Tensor:
    """The critics' predictions of one action for each observation, `[K, B]`.

    Raises:
        ProgramError: the program reports those of all actions.
    """
    values = trace.action_values
    assert values is not None
    if values.dim() != len(trace.shape) + 1:
        raise ProgramError(
            "the estimator learns critics of the action taken, [K, n, B]; the program reports the values of all "
            f"actions, {list(values.shape)}, which dqn learns"
        )
    # The one sample of the program.
    return values.squeeze(1)


def values_of_all(trace: Trace) -> Tensor:
    """The one critic's predictions of all actions, `[B, A]`.

    Raises:
        ProgramError: the program reports others.
    """
    values = trace.action_values
    assert values is not None
    if values.dim() != len(trace.shape) + 2 or values.shape[:2] != (1, 1):
        raise ProgramError(
            "the estimator learns one critic of all actions, [1, 1, B, A]; the program reports values "
            f"{list(values.shape)}"
        )
    return values.flatten(0, 2)


@torch.no_grad()
def bootstrapped(steps: ReplayedSteps, next_values: Tensor) -> Tensor:
    """y = R + gamma^m V'(s'), `[B]`, from V' of what the steps led to."""
    return steps.rewards + steps.discounts * next_values


def squared_errors(values: Tensor, targets: Tensor) -> Tensor:
    """1/2 sum_k mean (Q_k - y)^2 of `values [K, B]` and `targets [B]`."""
    return 0.5 * (values - targets).square().mean(-1).sum()


def differentiate(loss: Tensor, parameters: Mapping[str, Tensor], scale: float | Tensor) -> None:
    """Add `scale` times the loss's gradient to the `.grad` of these parameters, and of no others."""
    inputs = [value for value in parameters.values() if value.requires_grad]
    if not (isinstance(scale, float) and scale == 1.0):
        loss = loss * scale
    loss.backward(inputs=inputs)
