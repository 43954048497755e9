"""A two-player game learned by playing it: against itself, its own past or a league."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from framework import Context, Estimator, Image, Program, Task, UserError, Video, load, ranks
from framework.batch import map_tensors
from framework.config.types import Count, CountOrZero, NonNegative
from framework.media import Media
from framework.randomness import key
from framework.saved_state import check_saved
from framework.task import Split, TrainingPlan
from plugins.games.episode_log import EpisodeLog
from plugins.games.objectives import play_out, rollouts, whole_episodes
from plugins.games.pieces import piece_length
from plugins.games.policies.agent import Agent
from plugins.games.policies.bodies import Activation, BodyKind
from plugins.games.policies.memory import MemoryKind
from plugins.games.rollouts import Rollout
from plugins.league.arena import Arena
from plugins.league.cloning import clone, divergence
from plugins.league.film import film
from plugins.league.league.learners import Learner, Matches, frozen, in_turn, saved
from plugins.league.league.population import MAIN, Population
from plugins.league.match import Match, with_mask
from plugins.league.measures.anchors import against_anchors
from plugins.league.measures.tournament import elo_figure, heat_map, spread, standings, tournament
from plugins.league.opponents import AgentPlayer, Opponent
from plugins.league.players.naming import named_player
from plugins.league.rules.contract import Rules
from plugins.league.rules.making import make_rules

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
# Before the folder of a run whose main agent is meant.
RUN = "run:"


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
        teacher_weight: NonNegative = 0.0,
        anchors: list[str] = ["random"],  # noqa: B006
        evaluation_matches: Annotated[int, Field(ge=2)] = 200,
        tournament_matches: CountOrZero = 100,
    ) -> None:
        self.game, self.game_options = game, game_options
        rules = self.rules(1, "cpu")
        self.name = game if isinstance(game, str) else type(rules).__name__
        self.mode: Mode = mode
        self.boards, self.rollout_steps = boards, rollout_steps
        self.regularisation = regularisation if mode == "regularised" else 0.0
        self.shaping = shaping
        self.evaluation_matches, self.tournament_matches = evaluation_matches, tournament_matches
        self.teacher = None if teacher is None else named_player(teacher, rules, "task.teacher")
        self.cloning_matches, self.cloning_epochs = cloning_matches, cloning_epochs
        self.teacher_weight = teacher_weight
        if teacher_weight and teacher is None:
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
        self.anchors = self.named(anchors, rules, "task.anchors")
        self.rivals = self.named(rivals, rules, "task.rivals")
        self.check_players()
        self.pupil: Agent | None = None
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

    def named(self, names: list[str], rules: Rules, option: str) -> dict[str, Opponent]:
        """Players by what the user calls them; the main agent of a run by its folder's name.

        Raises:
            UserError: an unknown name, or a run that does not fit.
        """
        found: dict[str, Opponent] = {}
        for name in names:
            if name.startswith(RUN):
                folder = Path(name.removeprefix(RUN)).expanduser()
                found[folder.resolve().name] = self.trained(folder, option)
            else:
                found[name] = named_player(name, rules, option)
        return found

    def trained(self, folder: Path, option: str) -> Opponent:
        """The main agent of an earlier run, as it was at the end.

        Raises:
            UserError: the run is of another game, or of agents with another memory.
        """
        task = load(folder, checkpoint="last").task
        label = f"{option} = '{RUN}{folder}'"
        if not isinstance(task, League) or task.game != self.game:
            raise UserError(f"{label}: expected a run of the game '{self.name}'")
        if task.memory_shape != self.memory_shape:
            raise UserError(
                f"{label}: expected agents with the same task.memory and task.memory_width"
            )
        return AgentPlayer(frozen(task.agent(MAIN)))

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
            UserError: an estimator that replays steps, or several processes.
        """
        if estimator.replay is not None:
            raise UserError(
                "estimator: one that learns from a replay buffer has none here, since opponents change; "
                "choices: vtrace_upgo, ppo, vtrace, a2c, upgo, rloo"
            )
        if ranks.size() > 1:
            raise UserError(
                f"{ranks.size()} processes: a league learns in one; expected trainer.ranks=1"
            )
        plan = estimator.rollouts
        if plan is None:
            if estimator.supports_recorded_actions:
                return self.as_program(self.objective, recorded_trajectories=True)
            self.population.apart()
            return self.as_program(lambda context, _: play_out(self.active.matches, context, None))
        self.uses = plan.epochs * plan.minibatches
        for learner in self.learners:
            matches = learner.matches
            matches.pieces = piece_length(
                plan.minibatches,
                matches.count,
                matches.rollout_steps,
                recurrent=learner.agent.memory is not None,
            )
            matches.discount = getattr(estimator, "discount", 1.0)
            matches.trace_decay = getattr(estimator, "gae_lambda", 1.0)
        return self.as_program(self.by_rollouts, recorded_trajectories=True, rollouts=plan)

    def by_rollouts(self, context: Context, batch: Rollout) -> None:
        """Minus the payoff of rollouts, with predictions."""
        rollouts(self.active.matches, context, batch)
        if self.teacher_weight:
            self.keep_to_teacher(context, batch)

    def objective(self, context: Context, batch: Rollout) -> None:
        """Minus the payoff of whole matches."""
        whole_episodes(self.active.matches, context, batch)
        if self.teacher_weight:
            self.keep_to_teacher(context, batch)

    def keep_to_teacher(self, context: Context, batch: Rollout) -> None:
        """Charge the divergence from the policy that was cloned from the teacher (Vinyals et al. 2019)."""
        assert self.pupil is not None
        steps = len(batch.actions)
        seen = map_tensors(lambda part: part[:steps], batch.observations)
        recorded = seen, batch.memory, batch.episode_start[:steps]
        with torch.no_grad():
            habit = self.pupil.policy(*recorded)
        apart = divergence(self.active.agent.policy(*recorded), habit)
        mean = apart.masked_fill(~batch.valid, 0.0).sum() / batch.valid.sum().clamp(min=1)
        context.penalty(self.teacher_weight * mean, "teacher")

    def begin(self, plan: TrainingPlan) -> None:
        if plan.accumulate > 1:
            raise UserError(
                f"trainer.accumulate = {plan.accumulate}: expected 1 in a league; task.boards makes batches larger"
            )
        self.seed = plan.seed
        if plan.resumed:
            for learner in self.learners:
                learner.matches.resume()
            return
        if self.teacher is not None:
            self.clone_teacher()
        for learner in self.learners:
            learner.first = saved(learner.agent)

    def clone_teacher(self) -> None:
        """Every learner begins as the policy that imitates the teacher best."""
        assert self.teacher is not None
        clone(
            self.agent(MAIN),
            self.teacher,
            self.rules(self.cloning_matches),
            key(self.seed, "cloning") % 2**31,
            epochs=self.cloning_epochs,
            memory=self.memory_shape,
        )
        self.pupil = frozen(self.agent(MAIN))
        for learner in self.learners:
            learner.agent.load_state_dict(self.agent(MAIN).state_dict())

    def before_step(self, step: int) -> None:
        """Where a rollout begins: copy learners that are due, choose whose turn it is and whom it meets."""
        self.population.restarted = {}
        if step % self.uses == 0:
            self.population.prepare(step // self.uses, self.seed)

    def restarted_rows(self) -> Mapping[str, Tensor]:
        return self.population.restarted

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Any]:
        """Experience of the learner whose turn it is; what is random in batch number k is keyed by it."""
        number, done = divmod(start, self.uses)
        count = len(self.learners)
        own = {}
        for place, learner in enumerate(self.learners):
            before = (number - place + count - 1) // count
            inside = done if number % count == place else 0
            stream = key(seed, "learner", place)
            own[learner.name] = self.experience(program, learner, stream, before, inside)
        for turn, learner in in_turn(self.learners, number):
            for _ in range(done if turn == number else 0, self.uses):
                yield next(own[learner.name])

    def experience(
        self, program: Program, learner: Learner, seed: int, number: int, done: int
    ) -> Iterator[Any]:
        """One learner's batches from its rollout `number` on, of which `done` batches have been used."""
        if program.rollouts is not None:
            yield from learner.matches.rollouts(program.rollouts, seed, number * self.uses + done)
        while True:
            if program.recorded_trajectories:
                yield learner.matches.episodes(key(seed, "episodes", number))
            else:
                self.log.settle()
                yield None
            number += 1

    # --- measuring and showing ----------------------------------------------------------------------------------------

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """Matches of the main agent against the anchors; in the end a tournament of its snapshots as well."""
        self.log.settle()
        metrics = against_anchors(
            self.main_player(), self.anchors, self.arena(self.evaluation_matches), seed
        )
        if split == "test" and self.tournament_matches and len(entrants := self.entrants()) > 1:
            table = tournament(entrants, self.arena(self.tournament_matches), seed)
            metrics |= standings(table, self.population.snapshots[MAIN])
        return metrics

    def arena(self, matches: int) -> Arena:
        """Where so many matches are played at once."""
        return Arena(lambda: self.rules(matches), self.memory_shape)

    def entrants(self) -> dict[str, Opponent]:
        """Who plays in a tournament: anchors, some of the main agent's snapshots, and its last state."""
        past = {name: self.players[name] for name in spread(self.population.snapshots[MAIN], SHOWN)}
        return {**self.anchors, **past, MAIN: self.main_player()}

    def main_player(self) -> Opponent:
        """The main agent as it is measured and watched."""
        return AgentPlayer(self.agent(MAIN))

    def sitting_down(self, seed: int) -> Opponent:
        """Who plays one match with a person."""
        return self.main_player()

    def show(self, seed: int) -> Iterator[Media]:
        """Who beats whom, ratings, and a film of a match."""
        if self.tournament_matches and len(entrants := self.entrants()) > 1:
            table = tournament(entrants, self.arena(max(20, self.tournament_matches // 2)), seed)
            yield Image.from_figure("payoffs", heat_map(table))
            yield Image.from_figure("elo", elo_figure(table.names, table.ratings()))
        yield from self.video(seed)

    def video(self, seed: int) -> Iterator[Video]:
        """One match of the main agent against the last anchor, or itself where there is none."""
        rivals = [*self.anchors.values(), self.main_player()]
        rival = rivals[max(0, len(self.anchors) - 1)]
        rules = self.rules(1)
        frames = film(rules, self.main_player(), rival, seed, memory=self.memory_shape)
        if len(frames):
            yield Video("match", frames, rules.frames_per_second)

    def predict(self, source: Path | None, seed: int) -> Iterator[Media]:
        """The agent plays a match that is filmed.

        Raises:
            UserError: an input was given; an agent takes none.
        """
        if source is not None:
            raise UserError(f"input = '{source}': an agent plays its game and takes no input")
        yield from self.video(seed)

    def scalars(self) -> dict[str, float]:
        self.log.settle()
        population = self.population
        past = float(len(population.past))
        return {**self.log.scalars, **population.figures, "league/snapshots": past}

    # --- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The league as it stands: past players, payoffs, the matches under way."""
        pupil = None if self.pupil is None else saved(self.pupil)
        return {**self.log.state_dict(), **self.population.state_dict(), "pupil": pupil}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_saved("the league", state, pupil=dict[str, Tensor] | None)
        self.log.load_state_dict(state)
        self.population.load_state_dict(state)
        pupil = state["pupil"]
        self.pupil = None if pupil is None else self.population.remembered(pupil)

    def replace_model(self, model: nn.Module) -> None:
        super().replace_model(model)
        for learner in self.learners:
            learner.agent = learner.matches.agent = self.agent(learner.name)
        self.population.seat_learners()
