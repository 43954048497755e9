"""PettingZoo's classic games of two as rules: `task.game=pettingzoo:connect_four_v3` (extra [selfplay])."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any, cast

import numpy
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete

from framework.errors import UserError, suggestion
from framework.extras import import_extra
from plugins.games.policies.bodies import MASK
from plugins.league.rules.played import LONGEST, PlayedRules

PREFIX, FAMILY = "pettingzoo", "pettingzoo.classic"
# Payoffs that add up to less are zero-sum.
ROUNDING = 1e-6


class PettingZooMatch:
    """One environment, whose moves are taken in turn.

    Its history begins with the seed.
    """

    def __init__(self, environment: Any, seed: int, label: str) -> None:
        self.environment, self.label = environment, label
        self.history = [seed]
        environment.reset(seed=seed)
        self.agents: list[str] = list(environment.possible_agents)

    @property
    def to_move(self) -> tuple[bool, bool]:
        game = self.environment
        over = [
            game.terminations.get(a, True) or game.truncations.get(a, True) for a in self.agents
        ]
        if any(over):
            return False, False
        return game.agent_selection == self.agents[0], game.agent_selection == self.agents[1]

    def legal(self, player: int) -> list[int]:
        if not self.to_move[player]:
            return []
        agent = self.agents[player]
        seen = self.environment.observe(agent)
        told = self.environment.infos[agent].get(MASK)
        mask = seen.get(MASK, told) if isinstance(seen, dict) else told
        every = range(int(self.environment.action_space(agent).n))
        return list(every) if mask is None else numpy.flatnonzero(mask).tolist()

    def observe(self, player: int) -> numpy.ndarray[Any, Any]:
        seen = self.environment.observe(self.agents[player])
        return numpy.asarray(seen["observation"] if isinstance(seen, dict) else seen)

    def act(self, actions: tuple[int, int]) -> float:
        action = actions[1 if self.to_move[1] else 0]
        self.environment.step(action)
        self.history.append(action)
        first, second = (float(self.environment.rewards.get(agent, 0.0)) for agent in self.agents)
        if abs(first + second) > ROUNDING:
            raise UserError(
                f"{self.label}: expected a zero-sum game, not one that pays {first:g} and {second:g} at once"
            )
        return first

    def words(self, player: int) -> str:
        return str(self.observe(player))


class PettingZoo(PlayedRules):
    """N matches of a game of PettingZoo's, an environment each.

    What they hide is not known, so that no search looks ahead in them.

    Raises:
        UserError: a game that is unknown, or that is not for two players who choose among the same actions.
    """

    def __init__(
        self, boards: int, device: torch.device | str, name: str, options: Mapping[str, Any]
    ) -> None:
        super().__init__(boards, device)
        self.label = f"task.game = '{PREFIX}:{name}'"
        self.module = found(name, self.label)
        self.options = dict(options)
        refuse_options(self.module, name, self.options)
        environment = self.first_environment()
        agents = list(environment.possible_agents)
        if len(agents) != 2:
            raise UserError(f"{self.label}: expected a game of two players, not of {len(agents)}")
        actions = [environment.action_space(agent) for agent in agents]
        refuse_actions(actions, self.label)
        self.action_space = Discrete(int(actions[0].n))
        self.observation_space = numbers(
            [environment.observation_space(a) for a in agents], self.label
        )
        self.longest = LONGEST

    def first_environment(self) -> Any:
        """One by which it is seen whether the game can be played at all.

        Raises:
            UserError: what it says when it cannot.
        """
        try:
            environment = self.environment()
            environment.reset(seed=0)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
            raise UserError(f"{self.label}: PettingZoo refuses it: {reason}") from None
        return environment

    def environment(self) -> Any:
        return self.module.env(**self.options)

    def new(self) -> PettingZooMatch:
        seed = int(torch.randint(2**31, ()))
        return PettingZooMatch(self.environment(), seed, self.label)

    def again(self, history: list[int]) -> PettingZooMatch:
        match = PettingZooMatch(self.environment(), history[0], self.label)
        for action in history[1:]:
            match.act((action, action))
        return match


def found(name: str, label: str) -> Any:
    """The module of a classic game.

    Raises:
        UserError: PettingZoo is not installed, or has no such game.
    """
    family = import_extra(FAMILY, "selfplay", f"{label} needs PettingZoo")
    known = sorted(each.name for each in pkgutil.iter_modules(family.__path__) if "_v" in each.name)
    if name not in known:
        raise UserError(f"{label}: PettingZoo has no such classic game; {suggestion(name, known)}")
    try:
        module = import_extra(f"{FAMILY}.{name}", "selfplay", f"{label} needs a package more")
    except ImportError as error:
        raise UserError(f"{label}: it cannot be imported ({error})".partition("\n")[0]) from None
    if not hasattr(module, "env"):
        raise UserError(f"{label}: expected a game whose players move in turn")
    return module


def refuse_options(module: Any, name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that the game does not have.

    Raises:
        UserError: names the option.
    """
    maker = getattr(module, "raw_env", module.env)
    known = [one for one in inspect.signature(maker).parameters if one not in ("self", "kwargs")]
    for option in options:
        if option not in known:
            raise UserError(
                f"task.game_options.{option}: '{name}' has no such option; {suggestion(option, known)}"
            )


def refuse_actions(actions: list[Space[Any]], label: str) -> None:
    """Refuse players whose actions are not the same finite choice.

    Raises:
        UserError: says what they are.
    """
    one, other = actions
    if not (isinstance(one, Discrete) and one == other and int(one.start) == 0):
        raise UserError(
            f"{label}: expected players who choose one of the same actions, not {one}, {other}"
        )


def numbers(spaces: list[Space[Any]], label: str) -> Box | Discrete:
    """What both players see, without the mask of actions.

    Raises:
        UserError: neither an array of numbers nor one of several values, or not the same for both.
    """
    parts = [each["observation"] if isinstance(each, Dict) else each for each in spaces]
    one, other = parts
    if not (isinstance(one, Box | Discrete) and one == other):
        raise UserError(
            f"{label}: expected players who see the same kind of numbers, not {one}, {other}"
        )
    return cast(Box | Discrete, one)
