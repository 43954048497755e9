"""Games written in torch: the state of all games in a few tensors, on any device, without synchronising in a step.

A game defines its first states, its transitions and its observations; this file counts steps and begins the next
episodes. Random starts come from torch's global generator, which the trainer seeds by seed and step.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from framework import waiting
from framework.randomness import seeded
from plugins.games.environments.games import Games, Observation, Outcome, choose

# Every tensor's first axis is N.
State = dict[str, Tensor]


class NativeGames(Games):
    """N games whose state is a mapping of tensors."""

    time_limit: int
    on_device: ClassVar[bool] = True

    def __init__(self, count: int, device: torch.device | str = "cpu") -> None:
        self.count = count
        self.device = torch.device(device)
        self.state: State = {}
        self.clock = torch.zeros(count, dtype=torch.int32, device=self.device)
        self.ended = torch.zeros(count, dtype=torch.bool, device=self.device)

    @abstractmethod
    def begin(self, count: int) -> State:
        """Random first states of `count` games."""

    @abstractmethod
    def move(self, state: State, actions: Tensor) -> tuple[State, Tensor, Tensor]:
        """The next state, the rewards `[N]` and which games end `[N]`; must not change `state`."""

    @abstractmethod
    def observe(self, state: State) -> Tensor:
        """The observations `[N, ...]`."""

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
        self.state, self.clock = self.with_new_episodes(moved, clock, beginning)
        valid = ~beginning
        terminated = over & valid
        # Of booleans, > is "and not".
        truncated = (self.clock >= self.time_limit) > terminated
        self.ended = terminated | truncated
        return Outcome(
            observations=self.observe(self.state),
            rewards=rewards * valid,
            terminated=terminated,
            truncated=truncated,
            valid=valid,
            episode_start=beginning,
        )

    def with_new_episodes(
        self, moved: State, clock: Tensor, beginning: Tensor
    ) -> tuple[State, Tensor]:
        """First states and a clock at 0 where an episode begins, `moved` and `clock` elsewhere.

        To count how many begin would synchronise with an accelerator: there, first states are sampled for all games.
        """
        if waiting.queues(self.device):
            first = self.begin(self.count)
            state = {name: choose(beginning, first[name], moved[name]) for name in moved}
            return state, clock * ~beginning
        rows = beginning.nonzero().squeeze(1)
        if len(rows) == 0:
            return moved, clock
        first = self.begin(len(rows))
        state = {
            # A clone keeps the layout in memory.
            name: value.clone().index_copy_(0, rows, first[name].to(value.dtype))
            for name, value in moved.items()
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
    """Games on a small board, observed as planes `[N, planes, height, width]` of zeros and ones."""

    # One for each plane; later planes cover earlier ones.
    colours: ClassVar[tuple[tuple[int, int, int], ...]]
    # What each action adds to row and column.
    moves: ClassVar[tuple[tuple[int, int], ...]] = ()
    frames_per_second = 8.0

    def __init__(self, count: int, device: torch.device | str = "cpu") -> None:
        super().__init__(count, device)
        # Copied to the device once.
        self.directions = torch.tensor(self.moves, device=self.device)

    def render(self) -> Any:
        """The first game's planes as coloured squares."""
        planes = self.observe(self.state)[0].cpu()
        picture = torch.full((*planes.shape[1:], 3), 24, dtype=torch.uint8)
        for plane, colour in zip(planes, self.colours, strict=True):
            picture[plane > 0] = torch.tensor(colour, dtype=torch.uint8)
        return picture.repeat_interleave(24, 0).repeat_interleave(24, 1).numpy()
