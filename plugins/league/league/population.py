"""The population of a league: its learners and their past, and who meets whom in which rollout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from framework import ranks
from framework.randomness import generator
from framework.saved_state import check_saved
from plugins.games.policies.agent import Agent
from plugins.league.arena import scores
from plugins.league.league.learners import Learner, frozen, saved
from plugins.league.league.matchmaking import MATCHMAKING, Standing
from plugins.league.league.payoffs import Matches, Payoffs, by_opponent
from plugins.league.match import Match
from plugins.league.opponents import AgentPlayer, Opponent, RegularisedPlayer

MAIN = "main"


class Population:
    """Learners, past players and what they have won.

    Args:
        learners: the main agent first.
        players: everybody who can be met, by name; learners and past players are added.
        rivals: names of fixed players that are met as if they were past players.
        snapshot_every: rollouts of a learner until it is copied; see `Learner.is_due`.
        opponents_at_once: opponents drawn for each rollout.
        reference_every: rollouts until the reference of a regularised learner is replaced; None: it has none.

    Attributes:
        active: the learner whose turn it is; of several that learn side by side, this process's.
        side_by_side: all learners learn at once, each in a process or shard of its own.
        saved_side_by_side: whether they did so in the checkpoint that was loaded.
        snapshots: names of past players, by the learner that they are of.
        past: these players' agents.
        figures: what to log, by tag.
        restarted: rows of parameters that the last `prepare` has put elsewhere.
        reference: the policy that a regularised learner is held to.
    """

    def __init__(
        self,
        learners: list[Learner],
        players: dict[str, Opponent],
        rivals: Sequence[str],
        *,
        snapshot_every: int,
        opponents_at_once: int,
        reference_every: int | None,
    ) -> None:
        self.learners, self.players, self.rivals = learners, players, list(rivals)
        self.snapshot_every, self.opponents_at_once = snapshot_every, opponents_at_once
        self.reference_every = reference_every
        self.active = learners[0]
        self.snapshots: dict[str, list[str]] = {learner.name: [] for learner in learners}
        self.past: dict[str, Agent] = {}
        self.payoffs = Payoffs()
        self.figures: dict[str, float] = {}
        self.restarted: dict[str, Tensor] = {}
        self.reference: Agent | None = None
        self.moving = self.side_by_side = self.saved_side_by_side = False
        self.seat_learners()

    def seat_learners(self) -> None:
        """Let the learners be met as they are now."""
        for learner in self.learners:
            agent = frozen(learner.agent) if self.moving else learner.agent
            held = self.reference is not None
            self.players[learner.name] = (
                RegularisedPlayer(agent, cast(Agent, self.reference))
                if held
                else AgentPlayer(agent)
            )

    def apart(self) -> None:
        """The estimator runs matches under parameters of its own: whoever is met does not move with them."""
        self.moving = True
        self.seat_learners()

    @property
    def standing(self) -> Standing:
        snapshots = {**self.snapshots, "rivals": self.rivals}
        return Standing(self.payoffs, snapshots, {one.name: one.role for one in self.learners})

    # --- one rollout --------------------------------------------------------------------------------------------------

    def prepare(self, number: int, seed: int) -> None:
        """What comes before rollout `number`: of learners side by side, all that comes before each one's turn.

        All processes do all of it and come to the same.
        """
        self.collect()
        if not self.side_by_side:
            self.begin_turn(number, seed)
            return
        count = len(self.learners)
        for turn in range(number * count, (number + 1) * count):
            self.begin_turn(turn, seed)
        self.active = self.learners[ranks.rank()]

    def begin_turn(self, number: int, seed: int) -> None:
        """Whose turn it is, whether it is copied, and whom it meets."""
        if self.reference_every is not None and number % self.reference_every == 0:
            self.reference = frozen(self.learners[0].agent)
            self.seat_learners()
        if number == 0:
            self.snapshot(self.learners[0])
        self.active = learner = self.learners[number % len(self.learners)]
        if learner.is_due(self.snapshot_every, self.rates(learner)):
            self.copy(learner, number, seed)
        learner.age += 1
        if self.moving:
            self.seat_learners()
        learner.matches.reference = self.reference
        self.choose(learner, number, seed)

    def rates(self, learner: Learner) -> list[float]:
        """The win rates that decide whether a learner is copied early."""
        standing = self.standing
        against = [MAIN] if learner.role == "main_exploiter" else standing.past
        return standing.rates(learner.name, against)

    def copy(self, learner: Learner, number: int, seed: int) -> None:
        """Copy a learner into the league; an exploiter may then begin again."""
        self.snapshot(learner)
        learner.age = 0
        chance = torch.rand((), generator=generator(seed, "reset", number)).item()
        if learner.begins_anew(chance):
            self.restarted |= learner.reset(learner.name)
            self.payoffs.forget(learner.name)
            count = f"league/{learner.name}_resets"
            self.figures[count] = self.figures.get(count, 0.0) + 1

    def snapshot(self, learner: Learner) -> None:
        own = self.snapshots[learner.name]
        name = f"{learner.name}-{len(own)}"
        own.append(name)
        self.enter(name, frozen(learner.agent))

    def enter(self, name: str, agent: Agent) -> None:
        """A past player enters the league."""
        self.past[name] = agent
        self.players[name] = AgentPlayer(agent)

    def choose(self, learner: Learner, number: int, seed: int) -> None:
        """Draw the opponents that new matches of this rollout are played against."""
        chances = MATCHMAKING[learner.role](learner.name, self.standing)
        weights = torch.tensor(list(chances.values()), dtype=torch.float64)
        random = generator(seed, "matchmaking", number)
        # Evenly spaced over all chances, so that each is met as often as it should, whatever is drawn.
        places = (
            torch.arange(self.opponents_at_once) + torch.rand(1, generator=random)
        ) / self.opponents_at_once
        which = torch.searchsorted(weights.cumsum(0) / weights.sum(), places.double())
        names = list(chances)
        learner.matches.meet([names[min(i, len(names) - 1)] for i in which.tolist()])

    def collect(self) -> None:
        """Count the results since the last rollout, those of all processes."""
        own = [found for learner in self.learners for found in results_of(learner)]
        together = ranks.shared(own) if self.side_by_side else [own]
        for name, matches, mean in [found for each in together for found in each]:
            self.payoffs.add(name, matches)
            self.figures[f"league/{name}_score"] = mean

    # --- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The league as it stands: past players, payoffs, the matches under way."""
        self.collect()
        return {
            "past": {name: saved(agent) for name, agent in self.past.items()},
            "snapshots": {name: list(own) for name, own in self.snapshots.items()},
            "payoffs": self.payoffs.state_dict(),
            "figures": dict(self.figures),
            "reference": None if self.reference is None else saved(self.reference),
            "active": self.active.name,
            "side_by_side": self.side_by_side,
            "learners": {
                learner.name: {
                    "age": learner.age,
                    "first": dict(learner.first),
                    "matches": learner.matches.state_dict(),
                }
                for learner in self.learners
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned.

        Raises:
            UserError: something is missing, or of another league.
        """
        # Checkpoints made before learners could learn side by side do not say that they took turns.
        state = {"side_by_side": False, **state}
        check_saved(
            "the league",
            state,
            past=dict[str, dict[str, Tensor]],
            snapshots=dict[str, list[str]],
            figures=dict[str, float],
            reference=dict[str, Tensor] | None,
            active=str,
            side_by_side=bool,
            learners=dict[str, dict[str, Any]],
        )
        self.saved_side_by_side = state["side_by_side"]
        for name, tensors in state["past"].items():
            self.enter(name, self.remembered(tensors))
        self.snapshots = {name: list(own) for name, own in state["snapshots"].items()}
        self.payoffs.load_state_dict(state["payoffs"])
        self.figures = dict(state["figures"])
        self.reference = None if state["reference"] is None else self.remembered(state["reference"])
        for learner in self.learners:
            kept = state["learners"][learner.name]
            learner.age, learner.first = kept["age"], kept["first"]
            learner.matches.load_state_dict(kept["matches"])
            learner.matches.reference = self.reference
        names = [learner.name for learner in self.learners]
        place = ranks.rank() if self.side_by_side else names.index(state["active"])
        self.active = self.learners[place]
        self.seat_learners()

    def remembered(self, tensors: Mapping[str, Tensor]) -> Agent:
        """A past agent by its tensors."""
        agent = frozen(self.learners[0].agent)
        agent.load_state_dict(tensors)
        return agent


def results_of(learner: Learner) -> Iterator[tuple[str, list[Matches], float]]:
    """Whose matches, those that ended since the last time, and their mean score."""
    for vector in learner.matches.vectors.values():
        if results := cast(Match, vector).take_results():
            points = scores(torch.cat([result.payoffs for result in results]))
            names = [name for result in results for name in result.opponents]
            yield learner.name, by_opponent(names, points), float(points.mean())
