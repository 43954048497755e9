"""Games written in torch: the state of all games in a few tensors, on any device, with no wait for it in a step.

A game says how it begins, how it moves and what is seen; this file counts the time and begins the next episodes.
Random starts come from torch's own stream, which the trainer keys by seed and step.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from framework.randomness import seeded
from plugins.games.environments.games import Games, Observation, Outcome, choose

State = dict[str, Tensor]  # every tensor's first axis is N


class NativeGames(Games):
    """N games whose state is a mapping of tensors."""

    time_limit: int

    def __init__(self, count: int, device: torch.device | str = "cpu") -> None:
        self.count = count
        self.device = torch.device(device)
        self.state: State = {}
        self.clock = torch.zeros(count, dtype=torch.int32, device=self.device)
        self.ended = torch.zeros(count, dtype=torch.bool, device=self.device)

    @abstractmethod
    def begin(self, count: int) -> State:
        """Random first states of so many games."""

    @abstractmethod
    def move(self, state: State, actions: Tensor) -> tuple[State, Tensor, Tensor]:
        """The state that the actions lead to, the rewards `[N]` and which games end by it `[N]`; changes nothing."""

    @abstractmethod
    def observe(self, state: State) -> Tensor:
        """What the players see, `[N, ...]`."""

    def reset(self, seed: int) -> Observation:
        with seeded(seed):
            self.state = self.begin(self.count)
        self.clock.zero_()
        self.ended = torch.zeros_like(self.ended)
        return self.observe(self.state)

    def step(self, actions: Tensor) -> Outcome:
        beginning = self.ended
        moved, rewards, over = self.move(self.state, actions)
        clock = self.clock + 1
        self.state, self.clock = self.renewed(moved, clock, beginning)
        valid = ~beginning
        terminated = over & valid
        truncated = (self.clock >= self.time_limit) > terminated  # of booleans, > is "and not"
        self.ended = terminated | truncated
        return Outcome(
            observations=self.observe(self.state),
            rewards=rewards * valid,
            terminated=terminated,
            truncated=truncated,
            valid=valid,
            fresh=beginning,
        )

    def renewed(self, moved: State, clock: Tensor, beginning: Tensor) -> tuple[State, Tensor]:
        """First states and a clock at 0 where an episode begins, `moved` and `clock` elsewhere.

        To know how many begin would be to wait for an accelerator: there all are drawn and few are used.
        """
        if self.device.type != "cpu":
            first = self.begin(self.count)
            state = {name: choose(beginning, first[name], moved[name]) for name in moved}
            return state, clock * ~beginning
        rows = beginning.nonzero().squeeze(1)
        if len(rows) == 0:
            return moved, clock
        first = self.begin(len(rows))
        state = {
            name: value.clone().index_copy_(0, rows, first[name].to(value.dtype))
            for name, value in moved.items()  # a clone keeps the layout in memory
        }
        return state, clock.index_fill_(0, rows, 0)

    def state_dict(self) -> dict[str, Any]:
        return {"state": dict(self.state), "clock": self.clock, "ended": self.ended}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = {name: value.to(self.device) for name, value in state["state"].items()}
        self.clock = state["clock"].to(self.device)
        self.ended = state["ended"].to(self.device)

    def uniform(self, count: int, low: float, high: float) -> Tensor:
        """Random numbers `[count]`."""
        return torch.rand(count, device=self.device) * (high - low) + low

    def integers(self, count: int, below: int) -> Tensor:
        """Random whole numbers from 0 on, `[count]`."""
        return torch.randint(below, (count,), device=self.device)


class BoardGames(NativeGames):
    """Games on a small board: what is seen are planes `[N, planes, height, width]` of zeros and ones."""

    colours: ClassVar[
        tuple[tuple[int, int, int], ...]
    ]  # one for each plane; later planes cover earlier ones
    moves: ClassVar[tuple[tuple[int, int], ...]] = ()  # what each action adds to row and column
    frames_per_second = 8.0

    def __init__(self, count: int, device: torch.device | str = "cpu") -> None:
        super().__init__(count, device)
        self.directions = torch.tensor(self.moves, device=self.device)  # copied to it once

    def draw(self) -> Any:
        """The first game's planes as coloured squares."""
        planes = self.observe(self.state)[0].cpu()
        picture = torch.full((*planes.shape[1:], 3), 24, dtype=torch.uint8)
        for plane, colour in zip(planes, self.colours, strict=True):
            picture[plane > 0] = torch.tensor(colour, dtype=torch.uint8)
        return picture.repeat_interleave(24, 0).repeat_interleave(24, 1).numpy()
