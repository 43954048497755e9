"""The agent: bodies, a memory if it has one, a head for the actions and one for the predicted return."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete
from torch import Tensor, nn
from torch.distributions import Distribution

from framework.batch import map_tensors
from framework.errors import UserError
from plugins.games.environments.games import Observation
from plugins.games.policies import bodies
from plugins.games.policies.actions import Continuous, Head, make_head
from plugins.games.policies.critics import ActionValueHead, CriticKind, Critics, EpsilonGreedy
from plugins.games.policies.layout import is_picture
from plugins.games.policies.memory import MemoryKind, RecurrentMemory
from plugins.games.policies.normalisation import NamedNormalisers, Normaliser, ReturnScale
from plugins.games.policies.units import Units


class Agent(nn.Module):
    """Chooses actions and predicts returns.

    Args:
        shared: one body for both heads; else each has its own. A memory needs a shared one.
        observation_indices: the numbers of a flat observation that are used; None: all.
        state_dependent_std: the deviation of continuous actions depends on the observation.
        activation: of layers over numbers.
        critic: what is predicted beside the policy: the return of an observation (the value head), or that of each
            action in it (`critics`; for one of several actions the head itself).
        dueling: of that head.
        normalise: observations by their running mean and deviation.
        normalise_returns: predict returns over their running size.
    """

    def __init__(
        self,
        observations: Space[Any],
        actions: Space[Any],
        *,
        hidden: Sequence[int] = (64,),
        encoder: bodies.BodyKind = "auto",
        shared: bool = False,
        observation_indices: Sequence[int] | None = None,
        recurrence: MemoryKind = "none",
        memory_width: int = 64,
        continuous: Continuous = "clipped",
        log_std_init: float = 0.0,
        state_dependent_std: bool = False,
        activation: bodies.Activation = "tanh",
        critic: CriticKind = "value",
        dueling: bool = False,
        normalise: bool = False,
        normalise_returns: bool = False,
    ) -> None:
        super().__init__()
        self.normaliser = self.make_normaliser(observations) if normalise else None
        self.return_scale = ReturnScale() if normalise_returns else None
        make_body: Callable[[], bodies.Body] = partial(
            bodies.make_body, observations, encoder, hidden, observation_indices, activation
        )
        if encoder == "units":
            refuse_with_units(observation_indices, recurrence, critic)
            make_body = partial(Units, observations, hidden[-1])
        self.body = make_body()
        width = self.body.width
        self.memory: RecurrentMemory | None = None
        if recurrence != "none":
            self.memory = RecurrentMemory(recurrence, width, memory_width)
            width, shared = memory_width, True
        self.critics: Critics | None = None
        self.value_body: bodies.Body | None = None
        self.value_head: nn.Linear | None = None
        if critic == "action_value":
            refuse_unserved(actions, continuous, recurrence)
            if isinstance(actions, Discrete):
                self.head: Head = ActionValueHead(
                    width, int(actions.n), int(actions.start), dueling
                )
            else:
                self.head = make_head(width, actions, continuous, log_std_init, state_dependent_std)
                self.critics = Critics(
                    observations,
                    math.prod(actions.shape or ()),
                    hidden=hidden,
                    encoder=encoder,
                    observation_indices=observation_indices,
                    activation=activation,
                )
            check_mask(observations, self.head)
            return
        self.value_body = None if shared else make_body()
        self.head = (
            self.body.head(actions)
            if isinstance(self.body, Units)
            else make_head(width, actions, continuous, log_std_init, state_dependent_std)
        )
        check_mask(observations, self.head)
        self.value_head = bodies.initialised(nn.Linear(width, 1), 1.0)

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the bodies and the memory, which do nearly all the work; an agent has no one `forward`."""
        for part in (self.body, self.value_body, self.memory, self.critics):
            if part is not None:
                part.compile(*args, **options)

    def make_normaliser(self, observations: Space[Any]) -> Normaliser | NamedNormalisers:
        """One for the numbers of a Box, or for each such part of a Dict.

        Raises:
            UserError: there are no such numbers.
        """

        def numbers(space: Space[Any]) -> bool:
            return isinstance(space, Box) and len(space.shape) <= 2 and not is_picture(space)

        if isinstance(observations, Dict):
            parts = {
                name: part for name, part in observations.spaces.items() if name != bodies.MASK
            }
            shapes = {name: part.shape or () for name, part in parts.items() if numbers(part)}
            if shapes:
                return NamedNormalisers(shapes)
        elif numbers(observations):
            return Normaliser(observations.shape or ())
        raise UserError(
            f"task.normalise_observations = true: served are Box observations of numbers, not {observations}"
        )

    def initial_memory(self, count: int, device: torch.device) -> Tensor | None:
        """The memory `[parts, N, width]` of an agent that has seen nothing; None for one without memory."""
        return None if self.memory is None else self.memory.initial_state(count, device)

    def act(
        self, observation: Observation, memory: Tensor | None, episode_start: Tensor
    ) -> tuple[Distribution, Tensor | None]:
        """One step of N games: the policy, of batch shape `[N]`, and the memory after it.

        Args:
            observation: `[N, ...]`.
            memory: `[parts, N, width]`; None for an agent without memory.
            episode_start: `[N]`, an episode begins with this observation.
        """
        features, memory = self.encode(observation, memory, episode_start)
        return self.head(features, bodies.action_mask(observation)), memory

    def act_and_predict(
        self, observation: Observation, memory: Tensor | None, episode_start: Tensor
    ) -> tuple[Distribution, Tensor, Tensor | None]:
        """The same with the predicted returns `[N]`, for an agent with one body for both."""
        features, memory = self.encode(observation, memory, episode_start)
        policy = self.head(features, bodies.action_mask(observation))
        return policy, self.value(features), memory

    def encode(
        self, observation: Observation, memory: Tensor | None, episode_start: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The features `[N, F]` that the policy is computed from, and the memory after this step."""
        features = self.body(self.normalised(observation))
        if self.memory is None:
            return features, memory
        assert memory is not None
        memory = self.memory.step(features, memory, episode_start)
        return memory[0], memory

    def sample_actions(
        self, observation: Observation, memory: Tensor | None, episode_start: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Actions `[N, ...]` drawn from the policy, and the memory after them; arguments as for `act`."""
        policy, memory = self.act(observation, memory, episode_start)
        return policy.sample(), memory

    def greedy_actions(
        self, observation: Observation, memory: Tensor | None, episode_start: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The most likely actions `[N, ...]`, and the memory after them; arguments as for `act`."""
        policy, memory = self.act(observation, memory, episode_start)
        return self.head.greedy(policy), memory

    def predict(
        self, observation: Observation, memory: Tensor | None, episode_start: Tensor
    ) -> Tensor:
        """The predicted returns `[N]` of one observation; arguments as for `act`."""
        body = self.body if self.value_body is None else self.value_body
        features = body(self.normalised(observation))
        if self.memory is not None:
            assert memory is not None
            features = self.memory.step(features, memory, episode_start)[0]
        return self.value(features)

    def policy_and_values(
        self, observations: Observation, memory: Tensor | None, episode_start: Tensor
    ) -> tuple[Distribution, Tensor]:
        """A whole rollout at once.

        Args:
            observations: `[T + 1, N, ...]`, before each step and after the last one.
            memory: the memory before the rollout.
            episode_start: `[T + 1, N]`.

        Returns:
            the policy for the T steps, of batch shape `[T, N]`, and the predicted returns `[T + 1, N]`.
        """
        normalised = self.normalised(observations)
        acting = map_tensors(lambda part: part[:-1], observations)
        if self.value_body is not None:
            features = self.body(map_tensors(lambda part: part[:-1], normalised))
            predicting = self.value_body(normalised)
        else:
            predicting = self.through_memory(self.body(normalised), memory, episode_start)
            features = predicting[:-1]
        policy = self.head(features, bodies.action_mask(acting))
        return policy, self.value(predicting)

    def evaluate_steps(
        self, observations: Observation, memory: Tensor | None, episode_start: Tensor
    ) -> tuple[Distribution, Tensor]:
        """The policy and the predicted returns of the same T steps, both of batch shape `[T, N]`."""
        normalised = self.normalised(observations)
        features = self.through_memory(self.body(normalised), memory, episode_start)
        predicting = features if self.value_body is None else self.value_body(normalised)
        return self.head(features, bodies.action_mask(observations)), self.value(predicting)

    def policy(
        self, observations: Observation, memory: Tensor | None, episode_start: Tensor
    ) -> Distribution:
        """The policy of T recorded steps, `observations [T, N, ...]`, without predictions."""
        features = self.through_memory(
            self.body(self.normalised(observations)), memory, episode_start
        )
        return self.head(features, bodies.action_mask(observations))  # type: ignore[no-any-return]

    @torch.no_grad()
    def memories(self, observations: Observation, memory: Tensor, episode_start: Tensor) -> Tensor:
        """The memory `[T, parts, N, width]` before each of T steps."""
        assert self.memory is not None
        features, before = self.body(self.normalised(observations)), []
        for now, begins in zip(features.unbind(), episode_start.unbind(), strict=True):
            before.append(memory)
            memory = self.memory.step(now, memory, begins)
        return torch.stack(before)

    def action_values(
        self, observation: Observation, policy: Distribution | None, actions: Tensor | None
    ) -> Tensor:
        """The critics' predicted returns `[K, *batch]` of actions, or `[1, *batch, A]` of each of A actions.

        Args:
            observation: `[*batch, ...]`, or with fewer leading axes than the actions.
            policy: of the observation; None where the critics are networks of their own.
            actions: `[*batch, ...]` as critics read them; None where the policy itself predicts each action's.
        """
        if isinstance(policy, EpsilonGreedy):
            return policy.values.unsqueeze(0)
        assert self.critics is not None
        assert actions is not None
        values: Tensor = self.critics(self.normalised(observation), actions)
        return values

    def through_memory(
        self, features: Tensor, memory: Tensor | None, episode_start: Tensor
    ) -> Tensor:
        if self.memory is None:
            return features
        assert memory is not None
        return self.memory(features, memory, episode_start)  # type: ignore[no-any-return]

    def value(self, features: Tensor) -> Tensor:
        """Predicted returns `[...]`, in single precision under autocast, too."""
        assert self.value_head is not None
        return self.value_head(features).float().squeeze(-1)  # type: ignore[no-any-return]

    def normalised(self, observations: Observation) -> Observation:
        if self.normaliser is None:
            return observations
        return self.normaliser(observations)  # type: ignore[no-any-return]

    def to_environment(self, actions: Tensor) -> Tensor:
        """The environment's actions for sampled ones, such as a torque for a number between 0 and 1."""
        return self.head.to_environment(actions)


def refuse_with_units(
    observation_indices: Sequence[int] | None, recurrence: MemoryKind, critic: CriticKind
) -> None:
    """Refuse what a policy for several units has no use for.

    Raises:
        UserError: names the option.
    """
    if observation_indices is not None:
        raise UserError(
            f"task.observation_indices = {list(observation_indices)}: only numbers of a single Box can be selected, "
            "and task.encoder=units reads a board"
        )
    if recurrence != "none":
        raise UserError(f"task.memory = '{recurrence}': task.encoder=units has none; choices: none")
    if critic != "value":
        raise UserError(f"task.critic = '{critic}': expected value with task.encoder=units")


def refuse_unserved(actions: Space[Any], continuous: Continuous, recurrence: MemoryKind) -> None:
    """Refuse what no critic of actions is there for.

    Raises:
        UserError: names the option.
    """
    if recurrence != "none":
        raise UserError(
            f"task.memory = '{recurrence}': a critic of actions (task.critic=action_value) has none; choices: none"
        )
    floats = isinstance(actions, Box) and actions.dtype is not None and actions.dtype.kind == "f"
    if not (floats or isinstance(actions, Discrete)):
        raise UserError(
            f"task.critic = 'action_value': served are Discrete actions and a Box of floats, not {actions}"
        )
    if floats and continuous not in ("squashed", "bounded"):
        raise UserError(
            f"task.continuous = '{continuous}': with task.critic=action_value expected squashed (sac) or bounded (td3)"
        )


def check_mask(observations: Space[Any], head: Head) -> None:
    """Refuse a mask of other actions than the head chooses from."""
    mask = observations.get(bodies.MASK) if isinstance(observations, Dict) else None
    if mask is None or mask.shape == (head.choices,):
        return
    expected = f"one entry for each of {head.choices} choices" if head.choices else "none"
    kind = "discrete" if head.choices else "continuous"
    raise UserError(
        f"observation '{bodies.MASK}' is {mask}, expected {expected}: the actions are {kind}"
    )
