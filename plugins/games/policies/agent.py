"""The agent: bodies, a memory where wanted, a head for the actions and one for the predicted return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import Space
from gymnasium.spaces import Box, Dict
from torch import Tensor, nn
from torch.distributions import Distribution

from framework.batch import map_tensors
from framework.errors import UserError
from plugins.games.environments.games import Observation
from plugins.games.policies import bodies, memory
from plugins.games.policies.actions import Continuous, Head, make_head
from plugins.games.policies.normalisation import Normaliser, ReturnScale


class Agent(nn.Module):
    """Chooses actions and predicts returns.

    Args:
        shared: one body for both heads; else each has its own. A memory needs a shared one.
        see: which numbers of a flat observation are seen.
        normalise: see observations relative to their running mean and deviation.
        normalise_returns: predict returns relative to their running size.
    """

    def __init__(
        self,
        observations: Space[Any],
        actions: Space[Any],
        *,
        hidden: Sequence[int] = (64,),
        encoder: bodies.Kind = "auto",
        shared: bool = False,
        see: Sequence[int] | None = None,
        recurrence: memory.Kind = "none",
        memory_width: int = 64,
        continuous: Continuous = "clipped",
        log_spread: float = 0.0,
        normalise: bool = False,
        normalise_returns: bool = False,
    ) -> None:
        super().__init__()
        self.normaliser = self.make_normaliser(observations) if normalise else None
        self.return_scale = ReturnScale() if normalise_returns else None
        self.body = bodies.make_body(observations, encoder, hidden, see)
        width = self.body.width
        self.memory: memory.Memory | None = None
        if recurrence != "none":
            self.memory = memory.Memory(recurrence, width, memory_width)
            width, shared = memory_width, True
        self.value_body = None if shared else bodies.make_body(observations, encoder, hidden, see)
        self.head = make_head(width, actions, continuous, log_spread)
        check_mask(observations, self.head)
        self.value_head = bodies.initialised(nn.Linear(width, 1), 1.0)

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the bodies and the memory, which do nearly all the work; an agent has no one `forward`."""
        for part in (self.body, self.value_body, self.memory):
            if part is not None:
                part.compile(*args, **options)

    def make_normaliser(self, observations: Space[Any]) -> Normaliser:
        if not isinstance(observations, Box) or len(observations.shape) > 2:
            raise UserError(
                f"task.normalise_observations = true: served are Box observations of numbers, not {observations}"
            )
        return Normaliser(observations.shape)

    def empty_memory(self, count: int, device: torch.device) -> Tensor | None:
        """What an agent remembers that has seen nothing; None for one without memory."""
        return None if self.memory is None else self.memory.empty(count, device)

    def act(
        self, observation: Observation, state: Tensor | None, fresh: Tensor
    ) -> tuple[Distribution, Tensor | None]:
        """One step of N games: the policy, of batch shape `[N]`, and what is remembered behind it.

        Args:
            observation: `[N, ...]`.
            state: the memory.
            fresh: `[N]`, an episode begins with this observation.
        """
        features, state = self.notice(observation, state, fresh)
        return self.head(features, bodies.action_mask(observation)), state

    def act_and_predict(
        self, observation: Observation, state: Tensor | None, fresh: Tensor
    ) -> tuple[Distribution, Tensor, Tensor | None]:
        """The same with the predicted returns `[N]`, for an agent with one body for both."""
        features, state = self.notice(observation, state, fresh)
        policy = self.head(features, bodies.action_mask(observation))
        return policy, self.value(features), state

    def notice(
        self, observation: Observation, state: Tensor | None, fresh: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The features that the policy is made from, and the memory behind them."""
        features = self.body(self.normalised(observation))
        if self.memory is None:
            return features, state
        assert state is not None
        state = self.memory.step(features, state, fresh)
        return state[0], state

    def predict(self, observation: Observation, state: Tensor | None, fresh: Tensor) -> Tensor:
        """The predicted returns `[N]` of one observation; arguments as for `act`."""
        body = self.body if self.value_body is None else self.value_body
        features = body(self.normalised(observation))
        if self.memory is not None:
            assert state is not None
            features = self.memory.step(features, state, fresh)[0]
        return self.value(features)

    def judge(
        self, observations: Observation, state: Tensor | None, fresh: Tensor
    ) -> tuple[Distribution, Tensor]:
        """A record at once.

        Args:
            observations: `[T + 1, N, ...]`, before each step and behind the last one.
            state: the memory before the record.
            fresh: `[T + 1, N]`.

        Returns:
            the policy for the T steps, of batch shape `[T, N]`, and the predicted returns `[T + 1, N]`.
        """
        seen = self.normalised(observations)
        acting = map_tensors(lambda part: part[:-1], observations)
        if self.value_body is not None:
            features = self.body(map_tensors(lambda part: part[:-1], seen))
            predicting = self.value_body(seen)
        else:
            predicting = self.remembered(self.body(seen), state, fresh)
            features = predicting[:-1]
        policy = self.head(features, bodies.action_mask(acting))
        return policy, self.value(predicting)

    def policy(
        self, observations: Observation, state: Tensor | None, fresh: Tensor
    ) -> Distribution:
        """The policy of T recorded steps, `observations [T, N, ...]`, without predictions."""
        features = self.remembered(self.body(self.normalised(observations)), state, fresh)
        return self.head(features, bodies.action_mask(observations))  # type: ignore[no-any-return]

    def remembered(self, features: Tensor, state: Tensor | None, fresh: Tensor) -> Tensor:
        if self.memory is None:
            return features
        assert state is not None
        return self.memory(features, state, fresh)  # type: ignore[no-any-return]

    def value(self, features: Tensor) -> Tensor:
        """Predicted returns, of single precision under autocast, too."""
        return self.value_head(features).float().squeeze(-1)  # type: ignore[no-any-return]

    def normalised(self, observations: Observation) -> Observation:
        if self.normaliser is None:
            return observations
        return self.normaliser(observations)  # type: ignore[no-any-return]

    def greedy(self, policy: Distribution) -> Tensor:
        return self.head.greedy(policy)

    def played(self, actions: Tensor) -> Tensor:
        """What the games are given for drawn actions."""
        return self.head.played(actions)


def check_mask(observations: Space[Any], head: Head) -> None:
    """Refuse a mask that says of other actions than the head chooses from."""
    mask = observations.get(bodies.MASK) if isinstance(observations, Dict) else None
    if mask is None or mask.shape == (head.choices,):
        return
    wanted = f"one entry for each of {head.choices} choices" if head.choices else "none"
    kind = "discrete" if head.choices else "continuous"
    raise UserError(
        f"observation '{bodies.MASK}' is {mask}, expected {wanted}: the actions are {kind}"
    )
