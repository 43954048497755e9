"""A two-player game learned by playing it: against itself, its own past or a league."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from framework import Context, Estimator, Program, Task, UserError, ranks
from framework.config.types import Count, CountOrZero, Fraction, NonNegative
from framework.config.validation import check_options
from framework.media import Media
from framework.saved_state import check_saved
from framework.task import Split, TrainingPlan
from plugins.games.episode_log import EpisodeLog
from plugins.games.objectives import play_out, rollouts, whole_episodes
from plugins.games.policies.agent import Agent
from plugins.games.policies.bodies import Activation, BodyKind
from plugins.games.policies.memory import MemoryKind
from plugins.games.rollouts import Rollout
from plugins.league.league.learners import Learner, Matches, saved
from plugins.league.league.population import MAIN, Population
from plugins.league.league.turns import batches, refuse_other_turns, side_by_side
from plugins.league.match import Match, with_mask
from plugins.league.measures.judge import Judge
from plugins.league.measures.tournament import spread
from plugins.league.opponents import AgentPlayer, Opponent
from plugins.league.players.naming import named_player
from plugins.league.players.trained import RUN, players_by_name
from plugins.league.rules.contract import Rules
from plugins.league.rules.making import make_rules, make_tried_rules
from plugins.league.served import refuse_replay, refuse_unserved
from plugins.league.teaching import Teaching

Mode = Literal["self_play", "fictitious", "regularised", "league", "exploiter"]
ROLES = {
    "self_play": "self",
    "fictitious": "average",
    "regularised": "self",
    "league": "main",
    "exploiter": "exploiter",
}
# Snapshots in a tournament, spread over the training.
SHOWN = 8


class League(Task):
    """Learn a two-player game; measured by matches against fixed players."""

    model: nn.ModuleDict
    # The matches go on where they are.
    stateful: ClassVar[bool] = True
    primary_metric: ClassVar[str] = "anchor_score"
    metric_mode: ClassVar[Literal["min", "max"]] = "max"
    progress_numbers: ClassVar[Mapping[str, str]] = {
        "return": "train/return",
        "length": "train/episode_length",
        "steps/s": "time/game_steps_per_second",
    }
    metric_descriptions: ClassVar[Mapping[str, str]] = {
        "anchor_score": "mean score of the main agent against the anchors; a draw counts one half",
        "anchor_score_standard_error": "its standard error",
        "score/<player>": "mean score of the main agent against that anchor",
        "wins/<player>": "the part of these matches that it won",
        "elo/<player>": "Elo rating about the mean of all in the tournament",
        "elo_error/<player>": "its standard error",
        "elo_rise": "the last snapshot's Elo less the first one's",
        "train/return": "mean payoff of the latest training matches, as it is learned from",
        "train/episode_length": "their mean length, in decisions of the learner",
        "train/game_steps": "decisions of all learners so far",
        "time/game_steps_per_second": "decisions a second while collecting experience",
        "time/environment_steps_per_second": "the same, of the time in rules and opponents alone",
        "time/acting_steps_per_second": "the same, of the time in the learner's policy alone",
        "time/learning_steps_per_second": "decisions learned from a second",
        "league/snapshots": "past players in the league",
        "league/<learner>_score": "mean score of a learner in its latest rollout's matches",
        "league/<learner>_resets": "how often it began again",
    }

    def __init__(
        self,
        *,
        game: Any,
        game_options: dict[str, Any] = {},  # noqa: B006
        mode: Mode = "league",
        boards: Count = 256,
        rollout_steps: Count = 16,
        hidden: Annotated[list[Count], Field(min_length=1)] = [64],  # noqa: B006  (a schema's default)
        encoder: BodyKind = "auto",
        activation: Activation = "relu",
        shared: bool = False,
        memory: MemoryKind = "none",
        memory_width: Count = 64,
        snapshot_every: Count = 20,
        opponents_at_once: Count = 8,
        main_exploiters: CountOrZero = 1,
        league_exploiters: CountOrZero = 1,
        rivals: list[str] = [],  # noqa: B006
        regularisation: NonNegative = 0.2,
        reference_every: Count = 50,
        shaping: NonNegative = 0.0,
        teacher: str | None = None,
        cloning_matches: Count = 512,
        cloning_epochs: Count = 5,
        cloning_noise: Fraction = 0.0,
        teacher_weight: NonNegative = 0.0,
        anchors: list[str] = ["random"],  # noqa: B006
        evaluation_matches: Annotated[int, Field(ge=2)] = 200,
        greedy: bool = False,
        tournament_matches: CountOrZero = 100,
    ) -> None:
        # Those that come from Python, too.
        given = {name: value for name, value in locals().items() if name != "self"}
        check_options(League, given, "task")
        self.game, self.game_options = game, game_options
        rules = make_tried_rules(game, game_options)
        self.name = game if isinstance(game, str) else type(rules).__name__
        self.mode: Mode = mode
        # A class variable that one task may have of its own.
        vars(self).update(
            zip(("primary_metric", "metric_mode"), self.judged_by({"mode": mode}), strict=True)
        )
        self.boards, self.rollout_steps = boards, rollout_steps
        self.regularisation = regularisation if mode == "regularised" else 0.0
        self.shaping = shaping
        self.cloning_matches = cloning_matches
        self.teaching: Teaching | None = None
        if teacher is not None:
            self.teaching = Teaching(
                named_player(teacher, rules, "task.teacher"),
                epochs=cloning_epochs,
                noise=cloning_noise,
                weight=teacher_weight,
            )
        elif teacher_weight:
            raise UserError(
                f"task.teacher_weight = {teacher_weight:g}: expected 0, or a task.teacher whose habits are kept"
            )
        if memory != "none" and mode == "regularised":
            raise UserError(
                f"task.memory = '{memory}': expected none with task.mode=regularised, whose reference has no memory"
            )
        make_agent = partial(
            Agent,
            with_mask(rules),
            rules.action_space,
            hidden=hidden,
            encoder=encoder,
            activation=activation,
            shared=shared,
            recurrence=memory,
            memory_width=memory_width,
        )
        self.log = EpisodeLog()
        roles = {MAIN: ROLES[mode]}
        if mode == "league":
            roles |= {f"main_exploiter_{i + 1}": "main_exploiter" for i in range(main_exploiters)}
            roles |= {
                f"league_exploiter_{i + 1}": "league_exploiter" for i in range(league_exploiters)
            }
        self.roles = roles
        self.model = nn.ModuleDict({name: make_agent() for name in roles})
        part = self.agent(MAIN).memory
        self.memory_shape = None if part is None else (part.parts, part.width)
        named = partial(
            players_by_name, rules=rules, game=game, memory=self.memory_shape, taken=roles
        )
        self.anchors = named(anchors, option="task.anchors")
        self.rivals = named(rivals, option="task.rivals")
        self.check_players()
        self.judge = Judge(
            self.rules, self.memory_shape, self.anchors, evaluation_matches, tournament_matches
        )
        self.greedy = greedy
        self.seed, self.uses = 0, 1
        # By name: the learners, their past, and the rivals.
        self.players: dict[str, Opponent] = dict(self.rivals)
        self.population = Population(
            [self.learner(name, role) for name, role in roles.items()],
            self.players,
            list(self.rivals),
            snapshot_every=snapshot_every,
            opponents_at_once=opponents_at_once,
            reference_every=reference_every if mode == "regularised" else None,
        )

    # --- what there is ------------------------------------------------------------------------------------------------

    def rules(self, boards: int, device: torch.device | str | None = None) -> Rules:
        """Rules of so many boards."""
        where = self.device if device is None else device
        return make_rules(self.game, boards, where, self.game_options)

    def agent(self, name: str) -> Agent:
        return cast(Agent, self.model[name])

    @property
    def learners(self) -> list[Learner]:
        return self.population.learners

    @property
    def active(self) -> Learner:
        """Whose turn it is."""
        return self.population.active

    def learner(self, name: str, role: str) -> Learner:
        agent = self.agent(name)
        matches = Matches(
            name,
            agent,
            self.log,
            self.make_match,
            count=self.boards,
            rollout_steps=self.rollout_steps,
            regularisation=self.regularisation,
        )
        return Learner(name, role, agent, matches, saved(agent))

    def make_match(self, count: int) -> Match:
        return Match(
            self.rules(count),
            self.players,
            [MAIN],
            memory=self.memory_shape,
            shaping=self.shaping,
            regularisation=self.regularisation,
        )

    @classmethod
    def judged_by(cls, options: Mapping[str, Any]) -> tuple[str, Literal["min", "max"]]:
        """An exploiter is good by what it wins, however much it could itself be exploited."""
        if options.get("mode") == "exploiter":
            return League.primary_metric, League.metric_mode
        return super().judged_by(options)

    def check_players(self) -> None:
        """Refuse rivals that are never met, and a measure against nobody.

        Raises:
            UserError: names the option.
        """
        if self.mode == "exploiter":
            if not self.rivals:
                raise UserError(
                    f"task.rivals = []: expected whom to exploit, such as {RUN}FOLDER, with task.mode=exploiter"
                )
            self.anchors |= self.rivals
        elif self.rivals and self.mode != "league":
            raise UserError(
                f"task.rivals = {list(self.rivals)}: expected none with task.mode={self.mode}, which meets itself alone"
            )
        if not self.anchors and self.primary_metric == "anchor_score":
            raise UserError(
                "task.anchors = []: expected one player at least, by whom the main agent is measured, such as random"
            )

    # --- training -----------------------------------------------------------------------------------------------------

    def program(self, estimator: Estimator) -> Program:
        """What the estimator differentiates: rollouts with predictions, recorded matches, or matches played as it runs.

        Raises:
            UserError: an estimator that replays steps, or more or fewer processes than learners.
        """
        self.population.side_by_side = ranks.size() > 1
        own = self.own_program(estimator)
        return side_by_side(own, self.learners) if self.population.side_by_side else own

    def own_program(self, estimator: Estimator) -> Program:
        """The program of the learner that is active."""
        refuse_replay(estimator)
        plan = estimator.rollouts
        if plan is None:
            if estimator.supports_recorded_actions:
                return self.as_program(self.objective, recorded_trajectories=True)
            refuse_unserved(estimator, learners=len(self.learners))
            self.population.apart()
            return self.as_program(lambda context, _: play_out(self.active.matches, context, None))
        self.uses = plan.epochs * plan.minibatches
        for learner in self.learners:
            learner.matches.serve(estimator, plan.minibatches)
        return self.as_program(self.by_rollouts, recorded_trajectories=True, rollouts=plan)

    def by_rollouts(self, context: Context, batch: Rollout) -> None:
        """Minus the payoff of rollouts, with predictions."""
        rollouts(self.active.matches, context, batch)
        if self.teaching is not None:
            self.teaching.charge(context, self.active.agent, batch)

    def objective(self, context: Context, batch: Rollout) -> None:
        """Minus the payoff of whole matches."""
        whole_episodes(self.active.matches, context, batch)
        if self.teaching is not None:
            self.teaching.charge(context, self.active.agent, batch)

    def begin(self, plan: TrainingPlan) -> None:
        if plan.accumulate > 1:
            raise UserError(
                f"trainer.accumulate = {plan.accumulate}: expected 1 in a league; task.boards makes batches larger"
            )
        self.seed = plan.seed
        if plan.resumed:
            population = self.population
            refuse_other_turns(population.saved_side_by_side, population.side_by_side)
            for learner in self.learners:
                learner.matches.resume()
            return
        if self.teaching is not None:
            agents = [learner.agent for learner in self.learners]
            self.teaching.begin(
                agents, self.rules(self.cloning_matches), self.seed, self.memory_shape
            )
        for learner in self.learners:
            learner.first = saved(learner.agent)

    def before_step(self, step: int) -> None:
        """Where a rollout begins: copy learners that are due, choose whose turn it is and whom it meets."""
        self.population.restarted = {}
        if step % self.uses == 0:
            self.population.prepare(step // self.uses, self.seed)

    def restarted_rows(self) -> Mapping[str, Tensor]:
        return self.population.restarted

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Any]:
        return batches(self.learners, program, seed, start, self.uses)

    # --- measuring and showing ----------------------------------------------------------------------------------------

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """Matches of the main agent against the anchors; in the end a tournament of its snapshots as well."""
        self.log.settle()
        player = AgentPlayer(self.agent(MAIN), greedy=self.greedy)
        metrics = self.judge.scores(player, seed)
        if split == "test":
            snapshots = self.population.snapshots[MAIN]
            metrics |= self.judge.ratings(self.entrants(), snapshots, seed)
        return metrics

    def entrants(self) -> dict[str, Opponent]:
        """Who plays in a tournament: anchors, some of the main agent's snapshots, and its last state."""
        past = {name: self.players[name] for name in spread(self.population.snapshots[MAIN], SHOWN)}
        return {**self.anchors, **past, MAIN: self.main_player()}

    def main_player(self) -> Opponent:
        """The main agent as it learns and is watched: its actions are drawn."""
        return AgentPlayer(self.agent(MAIN))

    def sitting_down(self, seed: int) -> Opponent:
        """Who plays one match with a person."""
        return self.main_player()

    def show(self, seed: int) -> Iterator[Media]:
        """Who beats whom, ratings, and a film of a match."""
        yield from self.judge.pictures(self.entrants(), seed)
        yield from self.judge.video(self.main_player(), seed)

    def predict(self, source: Path | None, seed: int) -> Iterator[Media]:
        """The agent plays a match that is filmed.

        Raises:
            UserError: an input was given; an agent takes none.
        """
        if source is not None:
            raise UserError(f"input = '{source}': an agent plays its game and takes no input")
        yield from self.judge.video(self.main_player(), seed)

    def scalars(self) -> dict[str, float]:
        self.log.settle()
        population = self.population
        past = float(len(population.past))
        return {**self.log.scalars, **population.figures, "league/snapshots": past}

    # --- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The league as it stands: past players, payoffs, the matches under way."""
        pupil = None if self.teaching is None else self.teaching.pupil
        return {
            **self.log.state_dict(),
            **self.population.state_dict(),
            "pupil": None if pupil is None else saved(pupil),
            "setting": [self.name, self.mode],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_saved("the league", state, pupil=dict[str, Tensor] | None)
        setting = state.get("setting", [self.name, self.mode])
        if setting != [self.name, self.mode]:
            raise UserError(
                f"checkpoint: it is of {' in mode '.join(setting)}; expected {self.name} in mode {self.mode}"
            )
        self.log.load_state_dict(state)
        self.population.load_state_dict(state)
        if self.teaching is not None and state["pupil"] is not None:
            self.teaching.pupil = self.population.remembered(state["pupil"])

    def replace_model(self, model: nn.Module) -> None:
        super().replace_model(model)
        for learner in self.learners:
            learner.agent = learner.matches.agent = self.agent(learner.name)
        self.population.seat_learners()
