"""Who can sit at the other side of a board: a policy, chance, a script or a search, all behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from plugins.games.environments.games import Observation
from plugins.games.policies.agent import Agent
from plugins.games.policies.bodies import MASK
from plugins.league.rules.contract import Rules


@dataclass(frozen=True)
class View:
    """What a player is asked about: its moves on M of N boards.

    Attributes:
        rules: of all N boards; a search or a script looks at them, a policy only at what it may see.
        boards: `[M]`, their indices.
        player: `[M]`, who is to move on each.
        observation: `[M, ...]`, that player's, with the mask of its actions.
        memory: `[parts, M, width]` of a policy with memory.
        episode_start: `[M]`, the match has only begun.
    """

    rules: Rules
    boards: Tensor
    player: Tensor
    observation: dict[str, Tensor]
    memory: Tensor | None
    episode_start: Tensor


@dataclass(frozen=True)
class Move:
    """What a player does on M boards.

    Attributes:
        actions: `[M, ...]`.
        memory: `[parts, M, width]`, after it.
        surprise: `[M]`, log p(action) less its logarithm under the policy that a regularised player is held to.
        shares: `[M, A]`, the probabilities that a pupil imitates: a search knows more than the action that it takes.
    """

    actions: Tensor
    memory: Tensor | None = None
    surprise: Tensor | None = None
    shares: Tensor | None = None


class Opponent(ABC):
    """Chooses moves on any number of boards."""

    @abstractmethod
    def act(self, view: View) -> Move:
        """A move on each of the view's boards."""


class RandomPlayer(Opponent):
    """Any action that is allowed, each as likely as the others."""

    def act(self, view: View) -> Move:
        mask = view.observation[MASK].bool()
        space = view.rules.action_space
        sizes = getattr(space, "nvec", None)
        parts = [mask] if sizes is None else mask.split([int(n) for n in sizes], -1)
        chances = [
            torch.rand(part.shape, device=part.device).masked_fill(~part, -1) for part in parts
        ]
        chosen = [part.max(-1).indices for part in chances]
        return Move(chosen[0] if sizes is None else torch.stack(chosen, -1))


class AgentPlayer(Opponent):
    """A policy: actions drawn from it, or its most likely ones."""

    def __init__(self, agent: Agent, *, greedy: bool = False) -> None:
        self.agent = agent
        self.greedy = greedy

    @torch.no_grad()
    def act(self, view: View) -> Move:
        choose = self.agent.greedy_actions if self.greedy else self.agent.sample_actions
        actions, memory = choose(view.observation, view.memory, view.episode_start)
        return Move(self.agent.to_environment(actions), memory)


class RegularisedPlayer(Opponent):
    """A policy, and how far each of its actions is from another policy's habits.

    Both have no memory.
    """

    def __init__(self, agent: Agent, reference: Agent) -> None:
        self.agent, self.reference = agent, reference

    @torch.no_grad()
    def act(self, view: View) -> Move:
        now = view.observation, None, view.episode_start
        policy, _ = self.agent.act(*now)
        actions = policy.sample()
        surprise = policy.log_prob(actions) - self.reference.act(*now)[0].log_prob(actions)
        return Move(self.agent.to_environment(actions), None, surprise)


def seen_by(rules: Rules, player: Tensor) -> dict[str, Tensor]:
    """The observation of one player of each board, `player [N]`, as an agent reads it: with the mask of its actions."""
    observation: Observation = rules.observe(player)
    named = observation if isinstance(observation, dict) else {"observation": observation}
    return {**named, MASK: rules.mask(player)}
