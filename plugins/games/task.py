"""Playing a game: maximise the expected return, by whole episodes or by rollouts, whatever the estimator needs."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy
import torch
from pydantic import Field
from torch import Tensor

from framework import Context, Estimator, Image, Program, Task, Text, UserError, Video
from framework.batch import map_tensors
from framework.capabilities import able
from framework.media import Media
from framework.program import RolloutPlan
from framework.randomness import fresh_key, generator, key, seeded
from framework.task import Split
from plugins.games.environments.games import Games, Observation
from plugins.games.environments.making import make_games
from plugins.games.episode_log import RECENT, Stopwatch
from plugins.games.plot import returns_over_training
from plugins.games.policies import bodies, memory
from plugins.games.policies.actions import Continuous
from plugins.games.policies.agent import Agent
from plugins.games.rollouts import (
    Finished,
    Position,
    Record,
    Storage,
    begin,
    discounted_returns,
    play,
    play_episodes,
    record,
    record_episodes,
)

Count = Annotated[int, Field(ge=1)]


class Game(Task):
    """Play a game: one in torch or any gymnasium environment."""

    model: Agent
    stateful: ClassVar[bool] = True  # the games go on where they are
    primary_metric: ClassVar[str] = "return_mean"
    metric_mode: ClassVar[Literal["min", "max"]] = "max"

    def __init__(
        self,
        *,
        environment: str,
        games: Count = 64,
        rollout_steps: Count = 32,
        hidden: Annotated[list[Count], Field(min_length=1)] = [64],  # noqa: B006  (a schema's default)
        encoder: bodies.Kind = "auto",
        shared: bool = False,
        see: list[Annotated[int, Field(ge=0)]] | None = None,
        memory: memory.Kind = "none",
        memory_width: Count = 64,
        continuous: Continuous = "clipped",
        log_spread: float = 0.0,
        normalise_observations: bool = False,
        normalise_returns: bool = False,
        reward_scale: Annotated[float, Field(gt=0)] = 1.0,
        clip_rewards: bool = False,
        lives_end: bool = False,
        sticky: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        processes: bool = False,
        window: bool = False,
        evaluation_episodes: Count = 100,
        video_frames: Count = 500,
    ) -> None:
        self.environment = environment
        self.games = games
        self.rollout_steps = rollout_steps
        self.reward_scale = reward_scale
        self.clip_rewards = clip_rewards
        self.lives_end = lives_end
        self.sticky = sticky
        self.processes = processes
        self.window = window
        self.evaluation_episodes = evaluation_episodes
        self.video_frames = video_frames
        self.vectors: dict[tuple[str, int], Games] = {}
        vector = make_games(environment, 1, sticky=sticky)
        if lives_end and not vector.has_lives:
            raise UserError(
                f"task.lives_end = true: environment '{environment}' has no lives, Atari's games have some"
            )
        self.model = Agent(
            vector.observation_space,
            vector.action_space,
            hidden=hidden,
            encoder=encoder,
            shared=shared,
            see=see,
            recurrence=memory,
            memory_width=memory_width,
            continuous=continuous,
            log_spread=log_spread,
            normalise=normalise_observations,
            normalise_returns=normalise_returns,
        )
        vector.close()
        self.history: list[
            tuple[int, float]
        ] = []  # steps played, mean return of the episodes ended
        self.recent: deque[tuple[float, float]] = deque(maxlen=RECENT)  # returns and lengths
        self.latest: dict[str, float] = {}
        self.learned_since: float | None = None  # when the latest record was made
        self.evaluated = 0.0  # seconds of evaluation since then
        self.played = 0  # steps of single games in this training
        self.position: Position | None = None  # where the games stand, between two records
        self.current: Record | None = None  # the rollout that is being learned from
        self.restored: dict[str, Any] = {}  # a resumed run's games and rollout
        self.discount = 1.0  # the estimator's

    def program(self, estimator: Estimator) -> Program:
        """What the estimator differentiates.

        Rollouts with predictions where it asks for them; whole recorded episodes where it can use recorded actions;
        else episodes played under its own parameters, each action a draw.

        Raises:
            UserError: fewer games than parts that they are to be divided into, or an option that the estimator has no
                use for.
        """
        if estimator.rollouts is not None:
            parts = estimator.rollouts.minibatches
            if parts > self.games:
                raise UserError(
                    f"estimator.minibatches = {parts}: expected at most task.games = {self.games}, each part holds"
                    " whole games"
                )
            self.discount = getattr(estimator, "discount", 1.0)
            return self.as_program(
                self.replay, recorded_trajectories=True, rollouts=estimator.rollouts
            )
        if self.model.return_scale is not None:
            raise UserError(
                "task.normalise_returns = true: served are estimators that read predictions "
                f"({', '.join(able(value_predictions=True))}); others need task.reward_scale"
            )
        if estimator.supports_recorded_actions:
            return self.as_program(self.objective, recorded_trajectories=True)
        return self.as_program(self.play_out)

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Record | None]:
        """Records of the current policy; what is random in batch number k is keyed by it."""
        if program.rollouts is not None:
            yield from self.rollouts(program.rollouts, seed, start)
        number = start
        while True:
            if program.recorded_trajectories:
                yield self.episodes(key(seed, "episodes", number))
            else:
                self.adopt()
                yield None
            number += 1

    def episodes(self, seed: int) -> Record:
        """Whole episodes, one of each game."""
        games = self.vector(self.games)
        played = Stopwatch(games)
        self.adopt()
        with seeded(seed):
            made = record_episodes(games, self.model, self.act, seed % 2**31, self.device)
        self.learn_statistics(made.observations, made.valid)
        finished = Finished(made.returns, made.lengths)
        self.note(finished, int(made.lengths.sum()), played)
        return made

    def rollouts(self, use: RolloutPlan, seed: int, start: int) -> Iterator[Record]:
        """Each rollout `epochs` times in `minibatches` parts, its games divided anew in each epoch."""
        uses = use.epochs * use.minibatches
        storage = Storage(self.rollout_steps)
        number, done = divmod(start, uses)
        self.take_position(seed, start)
        while True:
            if done == 0 or self.current is None:
                self.current = self.rollout(storage, key(seed, "rollout", number))
            made = self.current
            for part in range(done, uses):
                epoch, which = divmod(part, use.minibatches)
                batch = made
                if use.minibatches > 1:
                    random = generator(seed, "parts", number, epoch)
                    order = torch.randperm(self.games, generator=random).to(self.device)
                    batch = made.of(order.tensor_split(use.minibatches)[which])
                if part + 1 == uses:
                    self.current = None  # a checkpoint between two rollouts needs neither
                yield batch
            number, done = number + 1, 0

    def rollout(self, storage: Storage, seed: int) -> Record:
        """The next rollout of the current policy."""
        assert self.position is not None
        games = self.vector(self.games)
        played = Stopwatch(games)
        self.adopt()
        with seeded(seed):
            made, finished = record(games, self.model, self.position, storage)
        self.learn_statistics(
            map_tensors(lambda part: part[:-1], made.observations), made.valid
        )  # the last row is the next rollout's first one
        self.learn_size(made, self.position)
        self.note(finished, int(made.valid.sum()), played)
        return made

    def take_position(self, seed: int, start: int) -> None:
        """Go on where a resumed run's games stood, if they could be saved; else begin new episodes."""
        vector, restored = self.vector(self.games), self.restored
        self.current = restored.get("rollout")
        if restored.get("games") is None:
            self.position = begin(
                vector, self.model, key(seed, "games", start) % 2**31, self.device
            )
            return
        vector.load_state_dict(restored["games"])
        self.position = restored["position"]
        self.restored = {}

    def adopt(self) -> None:
        """Let the statistics of all earlier records count in this one."""
        if self.model.normaliser is not None:
            self.model.normaliser.adopt()

    def learn_statistics(self, observations: Observation, valid: Tensor) -> None:
        """Note what was seen before valid steps for the normaliser."""
        if self.model.normaliser is not None and isinstance(observations, Tensor):
            self.model.normaliser.note(observations[valid])

    def learn_size(self, made: Record, position: Position) -> None:
        """Note a rollout's returns; they count at once, since nobody acts by them."""
        if self.model.return_scale is not None:
            returns = discounted_returns(
                self.clipped(made.rewards), made.fresh, position.discounted, self.discount
            )
            position.discounted = returns[-1]
            self.model.return_scale.note(returns[made.valid])

    def objective(self, context: Context, batch: Record) -> None:
        """Minus the return of whole episodes, charged step by step to the recorded actions."""
        policy = self.model.policy(batch.observations, batch.memory, batch.fresh)
        context.observe("action", policy, batch.actions, mask=batch.valid)
        context.cost(-self.learned(batch.rewards), "return")

    def replay(self, context: Context, batch: Record) -> None:
        """The same of rollouts, with the predicted returns besides."""
        policy, values = self.model.judge(batch.observations, batch.memory, batch.fresh)
        terminated = batch.terminated
        if self.lives_end and batch.lost is not None:
            terminated = terminated | batch.lost
        context.observe("action", policy, batch.actions, mask=batch.valid, behaviour=batch.log_prob)
        context.value(
            values[:-1],
            batch.following(values),
            terminated=terminated,
            truncated=batch.truncated,
            behaviour=batch.values,
        )
        context.cost(-self.learned(batch.rewards), "return")

    def learned(self, rewards: Tensor) -> Tensor:
        """Rewards as they are learned from; what is reported are the game's own."""
        rewards = self.clipped(rewards)
        if self.model.return_scale is not None:
            rewards = self.model.return_scale(rewards)
        return self.reward_scale * rewards

    def clipped(self, rewards: Tensor) -> Tensor:
        return rewards.clamp(-1, 1) if self.clip_rewards else rewards

    def play_out(self, context: Context, batch: None) -> None:
        """Minus the return of episodes played now: `context.samples` games, each action a draw."""
        games = self.vector(context.samples)
        played = Stopwatch(games)
        earned, returns, lengths = torch.zeros(3, context.samples, device=self.device)
        number = 0

        def act(
            observation: Observation, state: Tensor | None, fresh: Tensor
        ) -> tuple[Tensor, Tensor | None]:
            nonlocal number
            number += 1
            policy, state = self.model.act(observation, state, fresh)
            return context.sample(f"action/{number}", policy, per_sample=True), state

        for step in play(games, self.model, act, fresh_key() % 2**31, self.device):
            earned = torch.where(step.broken, 0.0, earned + self.learned(step.rewards))
            returns = torch.where(step.broken, 0.0, returns + step.rewards.detach())
            lengths = torch.where(step.broken, 0.0, lengths + step.valid)
            self.learn_statistics(step.observation, step.valid)
        self.note(Finished(returns, lengths), int(lengths.sum()), played)
        context.cost(-earned, "return")

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """Greedy episodes, each from its own seeded start, and as many by the policy as it is."""
        began = time.monotonic()
        metrics = self.metrics(*self.episodes_of_both(seed))
        self.evaluated += time.monotonic() - began
        return metrics

    def metrics(self, greedy: Finished, drawn: Finished) -> dict[str, float]:
        return {
            "return_mean": greedy.returns.mean().item(),
            "return_std": greedy.returns.std(correction=0).item(),
            "return_min": greedy.returns.min().item(),
            "length_mean": greedy.lengths.float().mean().item(),
            "return_stochastic": drawn.returns.mean().item(),
        }

    def episodes_of_both(self, seed: int) -> tuple[Finished, Finished]:
        """`evaluation_episodes` greedy episodes and as many drawn from the policy, from the same starts."""
        games = self.vector(self.evaluation_episodes, "evaluation")
        with seeded(seed):
            greedy = play_episodes(games, self.model, self.act_greedily, seed, self.device)
            drawn = play_episodes(games, self.model, self.act, seed, self.device)
        return greedy, drawn

    def show(self, seed: int) -> Iterator[Media]:
        """The agent playing, and its returns over the training."""
        if self.history:
            yield Image.from_figure(
                "returns", returns_over_training(self.environment, self.history)
            )
        yield from self.video(seed)

    def predict(self, source: Path | None, seed: int) -> Iterator[Media]:
        """The agent plays: a video, or with `task.window=true` a window, and the returns of its episodes.

        Raises:
            UserError: an input was given; an agent takes none.
        """
        if source is not None:
            raise UserError(f"input = '{source}': an agent plays its game and takes no input")
        yield from self.video(seed)
        greedy, drawn = self.episodes_of_both(seed)
        rows = ["policy,episode,return,length"]
        for policy, played in (("greedy", greedy), ("stochastic", drawn)):
            pairs = zip(played.returns.tolist(), played.lengths.tolist(), strict=True)
            rows += [f"{policy},{i},{earned:g},{n:g}" for i, (earned, n) in enumerate(pairs)]
        yield Text("returns", "\n".join(rows) + "\n", suffix=".csv")
        summary = {"environment": self.environment, **self.metrics(greedy, drawn)}
        yield Text("summary", json.dumps(summary, indent=2) + "\n", suffix=".json")

    def video(self, seed: int) -> Iterator[Video]:
        """One greedy episode, where the game can be drawn."""
        frames, rate = self.film(seed)
        if frames:
            yield Video("agent", numpy.stack(frames), rate)

    def film(self, seed: int) -> tuple[list[Any], float]:
        """Frames of one greedy episode (of a fast game every second one) and their rate; none without a picture."""
        try:
            games = make_games(
                self.environment,
                1,
                self.device,
                drawn=not self.window,
                window=self.window,
                sticky=self.sticky,
            )
        except UserError as error:  # what was learned must not be lost for a film
            if self.window:
                raise
            print(f"{error}; there is no film", file=sys.stderr, flush=True)
            return [], 1.0
        every = 2 if games.frames_per_second > 25 else 1
        frames = []
        with seeded(seed):
            steps = play(games, self.model, self.act_greedily, seed % 2**31, self.device)
            for number, step in enumerate(steps):
                ended = bool(step.terminated.any() | step.truncated.any())
                frame = games.draw() if number % every == 0 and not ended else None
                frames += [] if frame is None else [frame]
                if ended or number + 1 >= self.video_frames:
                    break
        rate = games.frames_per_second / every
        games.close()
        return frames, rate

    def scalars(self) -> dict[str, float]:
        return self.latest

    def state_dict(self) -> dict[str, Any]:
        """The learning curve; for rollouts also the games as they stand and, within a rollout, the rollout itself.

        Gymnasium's games cannot be saved: a run that is resumed begins new episodes in them.
        """
        state: dict[str, Any] = {
            "history": [list(point) for point in self.history],
            "recent": [list(pair) for pair in self.recent],
            "played": self.played,
        }
        if self.position is not None:
            state["position"] = {n: getattr(self.position, n) for n in Position.__slots__}
            state["games"] = self.vector(self.games).state_dict()
        if self.current is not None:
            state["rollout"] = dict(vars(self.current))
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = [(int(steps), earned) for steps, earned in state["history"]]
        self.recent = deque(((r, n) for r, n in state["recent"]), maxlen=RECENT)
        self.played = state["played"]
        self.restored = {}
        if state.get("games") is not None:
            position = Position(**placed_on(state["position"], self.device))
            self.restored = {"games": state["games"], "position": position}
        if "rollout" in state:
            self.restored["rollout"] = Record(**placed_on(state["rollout"], self.device))

    def act(
        self, observation: Observation, state: Tensor | None, fresh: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        policy, state = self.model.act(observation, state, fresh)
        return policy.sample(), state

    def act_greedily(
        self, observation: Observation, state: Tensor | None, fresh: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        policy, state = self.model.act(observation, state, fresh)
        return self.model.greedy(policy), state

    def vector(self, count: int, purpose: str = "training") -> Games:
        """A vector of `count` games, made once for each purpose: evaluation must not disturb a rollout.

        Only those of training have processes: an evaluation's many games would each hold one for the whole run.
        """
        if (purpose, count) not in self.vectors:
            self.vectors[purpose, count] = make_games(
                self.environment,
                count,
                self.device,
                processes=self.processes and purpose == "training",
                sticky=self.sticky,
            )
        return self.vectors[purpose, count]

    def note(self, finished: Finished, steps: int, played: Stopwatch) -> None:
        """Episode statistics for the log, and how fast the games were played and learned from.

        Learning is all that is done between two records, evaluation left out. On an accelerator the parts count how
        long it takes to ask for them.
        """
        seconds, environment = played.stop()
        pairs = list(zip(finished.returns.tolist(), finished.lengths.tolist(), strict=True))
        self.recent.extend(pairs)
        self.played += steps
        if pairs:
            self.history.append((self.played, sum(r for r, _ in pairs) / len(pairs)))
        self.latest = {
            "time/game_steps_per_second": steps / max(seconds, 1e-9),
            "time/environment_steps_per_second": steps / max(environment, 1e-9),
            "time/acting_steps_per_second": steps / max(seconds - environment, 1e-9),
            "train/game_steps": float(self.played),
        }
        if self.learned_since is not None:
            learning = played.began - self.learned_since - self.evaluated
            self.latest["time/learning_steps_per_second"] = steps / max(learning, 1e-9)
        self.learned_since, self.evaluated = time.monotonic(), 0.0
        if self.recent:
            self.latest["train/return"] = sum(r for r, _ in self.recent) / len(self.recent)
            self.latest["train/episode_length"] = sum(n for _, n in self.recent) / len(self.recent)


def placed_on(state: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Saved tensors on the device, those of named observations too; what is None stays so."""

    def place(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: place(part) for name, part in value.items()}
        return value.to(device) if isinstance(value, Tensor) else value

    return {name: place(value) for name, value in state.items()}
