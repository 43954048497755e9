"""The replay buffer: the latest steps of all games, drawn again with equal chances.

Each step is a row of its own that knows the row of its episode's next step. With several rewards in a target the rows
are walked along, and the walk stops where the episode ends, or where its newest step is. Rows are overwritten from the
oldest on, so that what a row leads to is always younger than it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from framework.batch import map_tensors
from framework.config.types import CountOrZero
from framework.errors import UserError
from framework.replay import ReplayedSteps
from framework.saved_state import check_saved
from plugins.games.environments.games import Observation

# No row.
NONE = -1


@dataclass(frozen=True)
class GameSteps:
    """T steps of N games, `[T, N, ...]`, or the rows of a buffer, `[capacity, ...]`.

    Attributes:
        observations: before the step.
        actions: as a critic reads them.
        rewards: as they are learned from.
        next_observations: what the step led to, before any reset.
        terminated: `[N]`, the game was over; what only cut the episode off is not.
    """

    observations: Observation
    actions: Tensor
    rewards: Tensor
    next_observations: Observation
    terminated: Tensor


class ReplayBuffer:
    """Steps `[capacity]`, written in a ring.

    Args:
        capacity: steps that are kept.
        games: N.

    Attributes:
        size: rows that hold a step.
        head: the row that is written next.
    """

    def __init__(self, capacity: int, games: int, device: torch.device) -> None:
        if capacity < 2 * games:
            raise UserError(
                f"estimator.capacity = {capacity}: expected at least two steps of each of task.games = {games}"
            )
        self.capacity, self.device = capacity, device
        self.size = self.head = 0
        self.rows: GameSteps | None = None
        # The row of the same episode's next step; as an index, NONE is a spare row at the end.
        self.following = torch.full((capacity + 1,), NONE, device=device)
        # The row of each game's latest step; NONE where its episode ended with it.
        self.latest = torch.full((games,), NONE, device=device)

    def add(self, steps: GameSteps, *, valid: Tensor, episode_start: Tensor, ended: Tensor) -> int:
        """Write T steps of each game, but for those that are no steps; returns how many.

        Args:
            valid: `[T, N]`, false for steps that only reset a game: an episode begins after one.
            episode_start: `[T, N]`, an episode began with the observation before the step.
            ended: `[T, N]`, the episode ended with it.
        """
        # None at once that would overwrite the steps before them, which are to lead to them.
        most, count = self.capacity // len(self.latest) - 1, 0
        for first in range(0, len(valid), most):
            some = slice(first, first + most)
            part = map_tensors(lambda rows: rows[some], steps)  # noqa: B023  (called at once)
            count += self.write(part, valid[some], episode_start[some], ended[some])
        return count

    def write(self, steps: GameSteps, valid: Tensor, episode_start: Tensor, ended: Tensor) -> int:
        """The same for steps of which there is room for all beside those before them."""
        which = valid.flatten().nonzero().squeeze(1)
        count = len(which)
        written = (self.head + torch.arange(count, device=self.device)).remainder_(self.capacity)
        flat = map_tensors(lambda part: part.flatten(0, 1)[which], steps)
        if self.rows is None:
            self.rows = map_tensors(
                lambda part: part.new_empty((self.capacity, *part.shape[1:])), flat
            )
        map_tensors(lambda row, part: row.index_copy_(0, written, part), self.rows, flat)
        places = which.new_full((valid.numel(),), NONE)
        places = places.index_copy_(0, which, written).view_as(valid)
        leading = torch.cat([self.latest.unsqueeze(0), places.masked_fill(ended, NONE)])
        self.latest = leading[-1].clone()
        self.following.index_fill_(0, written, NONE)
        # Where there is no step before, or none after it, the spare row is written.
        before = leading[:-1].masked_fill(episode_start | ~valid, NONE)
        self.following[before.flatten()] = places.flatten()
        self.following[NONE] = NONE
        self.head = (self.head + count) % self.capacity
        self.size = min(self.size + count, self.capacity)
        return count

    def sample(
        self, count: int, n_step: int, discount: float, random: torch.Generator
    ) -> ReplayedSteps:
        """Draw `count` steps, each with the rewards of up to `n_step` steps from it on."""
        assert self.rows is not None
        first = torch.randint(self.size, (count,), generator=random).to(self.device)
        return self.from_rows(first, n_step, discount)

    def from_rows(self, first: Tensor, n_step: int, discount: float) -> ReplayedSteps:
        """The steps in the rows `first [B]`, each with the rewards of up to `n_step` steps from it on."""
        rows = self.rows
        assert rows is not None
        rewards = rows.rewards[first]
        factors = torch.full_like(rewards, discount)
        last = first
        for _ in range(n_step - 1):
            ahead = self.following[last]
            goes_on = ahead != NONE
            last = torch.where(goes_on, ahead, last)
            rewards = torch.where(goes_on, rewards + factors * rows.rewards[last], rewards)
            factors = torch.where(goes_on, discount * factors, factors)
        return ReplayedSteps(
            observations=map_tensors(lambda part: part[first], rows.observations),
            actions=rows.actions[first],
            rewards=rewards,
            next_observations=map_tensors(lambda part: part[last], rows.next_observations),
            discounts=factors.masked_fill(rows.terminated[last], 0.0),
        )

    def state_dict(self) -> dict[str, Any]:
        """The rows that hold a step, and how they hang together."""
        rows = None
        if self.rows is not None:
            rows = {
                field.name: map_tensors(
                    lambda part: part[: self.size].clone(), getattr(self.rows, field.name)
                )
                for field in fields(GameSteps)
            }
        return {
            "rows": rows,
            "following": self.following[: self.size].clone(),
            "latest": self.latest.clone(),
            "head": self.head,
            "capacity": self.capacity,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            UserError: it holds something else, or is of another size or of other games.
        """
        kinds: dict[str, Any] = {"following": Tensor, "latest": Tensor}
        kinds |= {"head": CountOrZero, "capacity": CountOrZero}
        check_saved("the replay buffer", state, rows=dict[str, Any] | None, **kinds)
        following, latest = state["following"], state["latest"]
        found = state["capacity"], len(latest)
        if found != (self.capacity, len(self.latest)) or len(following) > self.capacity:
            raise UserError(
                f"checkpoint: the replay buffer keeps {found[0]} steps of {found[1]} games; expected {self.capacity} "
                f"(estimator.capacity) of {len(self.latest)} (task.games)"
            )
        if state["rows"] is not None:
            observed = Tensor | dict[str, Tensor]
            kinds = {"actions": Tensor, "rewards": Tensor, "terminated": Tensor}
            kinds |= {"observations": observed, "next_observations": observed}
            check_saved("the replay buffer's rows", state["rows"], **kinds)
            self.rows = GameSteps(**map_tensors(self.restored, state["rows"]))
        self.size, self.head = len(following), state["head"] % self.capacity
        self.following[: self.size] = following.to(self.device)
        self.latest = latest.to(self.device).clone()

    def restored(self, part: Tensor) -> Tensor:
        rows = torch.empty((self.capacity, *part.shape[1:]), dtype=part.dtype, device=self.device)
        rows[: len(part)] = part.to(self.device)
        return rows
