"""A game that is small enough to be judged exactly: by what best responses would gain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from framework import Estimator, Image, Program, UserError
from framework.errors import suggestion
from framework.media import Media
from framework.randomness import generator
from framework.task import Split
from plugins.league.league.matchmaking import linear_weights
from plugins.league.league.population import MAIN
from plugins.league.measures.game_tree import GameTree
from plugins.league.measures.matrix_game import equilibrium
from plugins.league.measures.policy_figure import policy_figure
from plugins.league.opponents import Opponent
from plugins.league.task import League


class ExactLeague(League):
    """Learn a small two-player game; measured by NashConv, 0 for an equilibrium."""

    primary_metric: ClassVar[str] = "nash_conv"
    metric_mode: ClassVar[Literal["min", "max"]] = "min"
    metric_descriptions: ClassVar[Mapping[str, str]] = {
        **League.metric_descriptions,
        "nash_conv": "what best responses would gain in all against the mode's answer; 0 for an equilibrium",
        "nash_conv_last": "the same against the main agent as it is",
        "nash_conv_average": "the same against the mixture of all its snapshots (fictitious: the t-th with weight t)",
        "first_player_gains": "the mean payoff of the first player, both playing that answer",
    }

    @cached_property
    def tree(self) -> GameTree:
        """All histories of the game.

        Raises:
            UserError: there are too many, or the agent has a memory.
        """
        if self.memory_shape is not None:
            raise UserError(
                "task.memory: expected none with task=exact_league, which reads a policy as a table of what is seen now"
            )
        return GameTree(self.rules(1, "cpu"))

    def program(self, estimator: Estimator) -> Program:
        # What cannot be judged is refused before it is trained.
        assert self.tree.count
        return super().program(estimator)

    @torch.no_grad()
    def table(self, name: str = MAIN) -> Tensor:
        """The probabilities of a learner or a past player, `[I, A]`.

        Raises:
            UserError: there is none of that name.
        """
        known = [*self.roles, *self.population.past]
        if name not in known:
            raise UserError(f"table: no player '{name}'; {suggestion(name, known)}")
        agent = self.agent(name) if name in self.roles else self.population.past[name]
        return self.tree.table(agent)

    def weights(self) -> list[float]:
        """Of the main agent's snapshots in their mixture."""
        count = len(self.population.snapshots[MAIN])
        return linear_weights(count) if self.mode == "fictitious" else [1.0] * count

    def average(self) -> Tensor:
        """The main agent's snapshots mixed, as by a player that draws one of them for each match."""
        own = self.population.snapshots[MAIN]
        if not own:
            return self.table()
        return self.tree.average([self.table(name) for name in own], self.weights())

    def equilibrium(self) -> Tensor:
        """The equilibrium of the game of choosing a past player for each match, all learners' (Vinyals et al. 2019)."""
        tables = [self.table(name) for name in self.population.past] or [self.table()]
        payoffs = self.tree.payoffs(tables)
        mixtures = [self.tree.average(tables, part.tolist()) for part in equilibrium(payoffs)]
        return self.tree.joined(*mixtures)

    def answer(self) -> Tensor:
        """What the mode's theory says converges: the last policy, the average or the equilibrium of the league."""
        found = {"fictitious": self.average, "league": self.equilibrium}
        return found.get(self.mode, self.table)()

    def sitting_down(self, seed: int) -> Opponent:
        """A past player where the mode's answer is a mixture of them, drawn for the match."""
        own = self.population.snapshots[MAIN]
        if self.mode not in ("fictitious", "league") or not own:
            return super().sitting_down(seed)
        random = generator(seed, "sitting down")
        drawn = torch.tensor(self.weights()).multinomial(1, generator=random)
        return self.players[own[int(drawn)]]

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        tree, answer = self.tree, self.answer()
        return {
            "nash_conv": tree.nash_conv(answer),
            "nash_conv_last": tree.nash_conv(self.table()),
            "nash_conv_average": tree.nash_conv(self.average()),
            "first_player_gains": float(tree.value(answer)),
            **super().evaluate(seed, split),
        }

    @torch.no_grad()
    def show(self, seed: int) -> Iterator[Media]:
        """What the mode's answer does where it comes to most often, and what matches show."""
        answer = self.answer()
        title = f"{self.name}, {self.mode}: NashConv {self.tree.nash_conv(answer):.3f}"
        yield Image.from_figure("policy", policy_figure(self.tree, answer, title))
        yield from super().show(seed)
