"""Learning from a replay buffer: what an estimator asks of a task, and what the task's program is given.

The estimator says by a `ReplayPlan` how steps are collected and replayed; each batch of the task is then a
`ReplayedSteps`. From it the estimator makes the `Decisions` that it runs the program on, several times for an update:
recorded actions are judged by `context.action_values`, and where there are none, the program draws one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ReplayPlan:
    """How steps are collected and replayed.

    Attributes:
        capacity: steps that are kept, the latest ones.
        batch_size: B, steps of an update, drawn with equal chances.
        warmup_steps: steps by uniformly random actions before the first update.
        steps_per_update: steps that are taken for each update.
        n_step: rewards that are added up before a prediction takes their place.
        discount: gamma.
        finite_actions: the critic predicts the return of each of finitely many actions; else that of a given one.
        epsilon: the chance of a random action at first, in the end, and after how many steps it is the last one, for
            agents that have no random policy of their own.
    """

    capacity: int
    batch_size: int
    warmup_steps: int
    steps_per_update: int
    n_step: int = 1
    discount: float = 0.99
    finite_actions: bool = False
    epsilon: tuple[float, float, int] = (0.0, 0.0, 1)

    def steps_before(self, update: int) -> int:
        """Steps that have been taken when update number `update` (from 0) begins."""
        return self.warmup_steps + update * self.steps_per_update

    def epsilon_after(self, steps: int) -> float:
        """The chance of a random action after that many steps: on a straight line from the first to the last."""
        first, last, over = self.epsilon
        return first + min(1.0, steps / over) * (last - first)


@dataclass(frozen=True)
class ReplayedSteps:
    """B steps of older policies, each with the n - 1 after it: what the return of its action is learned from.

        R = r_t + gamma r_{t+1} + ... + gamma^{m-1} r_{t+m-1},   target = R + gamma^m V(s_{t+m})

    with m = n unless the episode ended, or the buffer does, after fewer steps.

    Attributes:
        observations: `[B, ...]`, s_t.
        actions: `[B, ...]`, as the program's critic reads them.
        rewards: `[B]`, R.
        next_observations: `[B, ...]`, s_{t+m}, before any reset.
        discounts: `[B]`, gamma^m; 0 where the game was over. A truncated episode would have gone on.
    """

    observations: Any
    actions: Tensor
    rewards: Tensor
    next_observations: Any
    discounts: Tensor


@dataclass(frozen=True)
class Decisions:
    """What the program is run on: observations `[B, ...]` and the actions taken there; None: it draws its own."""

    observations: Any
    actions: Tensor | None = None
