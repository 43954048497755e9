"""Playing a game: maximise the expected return, by whole episodes or by rollouts, whatever the estimator needs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy
import torch
from pydantic import Field
from torch import Tensor, nn

from framework import Context, Estimator, Image, Program, Task, Text, UserError, Video
from framework.capabilities import able
from framework.config.types import Count, CountOrZero, FractionBelowOne, Positive
from framework.media import Media
from framework.randomness import fresh_key, key, seeded
from framework.task import Split, TrainingPlan
from plugins.games.environments.games import Observation
from plugins.games.episode_log import EpisodeLog, Stopwatch
from plugins.games.experience import Experience
from plugins.games.film import film
from plugins.games.options import EnvironmentOptions, RewardOptions
from plugins.games.player import Player
from plugins.games.plot import returns_over_training
from plugins.games.policies.actions import Continuous
from plugins.games.policies.agent import Agent
from plugins.games.policies.bodies import BodyKind
from plugins.games.policies.memory import MemoryKind
from plugins.games.rollouts import EpisodeStatistics, Rollout, play, play_episodes


class Game(Task):
    """Play a game: one in torch or any gymnasium environment."""

    model: Agent
    # The games go on where they are.
    stateful: ClassVar[bool] = True
    primary_metric: ClassVar[str] = "return_mean"
    metric_mode: ClassVar[Literal["min", "max"]] = "max"
    metric_descriptions: ClassVar[Mapping[str, str]] = {
        "return_mean": "mean undiscounted return of greedy episodes",
        "return_std": "its standard deviation over episodes",
        "return_min": "the lowest return of these episodes",
        "length_mean": "mean length of these episodes, in steps",
        "return_stochastic": "mean return of episodes whose actions are sampled",
        "train/return": "mean return of the latest training episodes",
        "train/episode_length": "their mean length, in steps",
        "train/game_steps": "environment steps taken so far",
        "time/game_steps_per_second": "environment steps a second while collecting experience",
        "time/environment_steps_per_second": "the same, of the time in the environment alone",
        "time/acting_steps_per_second": "the same, of the time in the policy alone",
        "time/learning_steps_per_second": "environment steps learned from a second",
    }

    def __init__(
        self,
        *,
        environment: str,
        games: Count = 64,
        rollout_steps: Count = 32,
        hidden: Annotated[list[Count], Field(min_length=1)] = [64],  # noqa: B006  (a schema's default)
        encoder: BodyKind = "auto",
        shared: bool = False,
        observation_indices: list[CountOrZero] | None = None,
        memory: MemoryKind = "none",
        memory_width: Count = 64,
        continuous: Continuous = "clipped",
        log_std_init: float = 0.0,
        normalise_observations: bool = False,
        normalise_returns: bool = False,
        reward_scale: Positive = 1.0,
        clip_rewards: bool = False,
        terminal_on_life_loss: bool = False,
        repeat_action_probability: FractionBelowOne = 0.0,
        processes: bool = False,
        window: bool = False,
        evaluation_episodes: Count = 100,
        video_frames: Count = 500,
    ) -> None:
        self.games = games
        self.terminal_on_life_loss = terminal_on_life_loss
        self.evaluation_episodes = evaluation_episodes
        self.video_frames = video_frames
        self.environment = EnvironmentOptions(
            name=environment,
            repeat_action_probability=repeat_action_probability,
            processes=processes,
            window=window,
        )
        self.rewards = RewardOptions(scale=reward_scale, clip=clip_rewards)
        game = self.environment.make(1, "cpu")
        if terminal_on_life_loss and not game.has_lives:
            raise UserError(
                f"task.terminal_on_life_loss = true: environment '{environment}' has no lives, Atari's games have some"
            )
        self.model = Agent(
            game.observation_space,
            game.action_space,
            hidden=hidden,
            encoder=encoder,
            shared=shared,
            observation_indices=observation_indices,
            recurrence=memory,
            memory_width=memory_width,
            continuous=continuous,
            log_std_init=log_std_init,
            normalise=normalise_observations,
            normalise_returns=normalise_returns,
        )
        game.close()
        self.player = Player(game.observation_space, game.action_space)
        self.log = EpisodeLog()
        self.experience = Experience(
            self.environment,
            self.rewards,
            self.model,
            self.log,
            count=games,
            rollout_steps=rollout_steps,
        )

    # --- using the agent ----------------------------------------------------------------------------------------------

    def act(
        self,
        observation: Any,
        *,
        sample: bool = False,
        episode_start: bool | Sequence[bool] = False,
    ) -> Any:
        """The agent's action for an observation of gymnasium's; an agent with a memory remembers it.

            agent = framework.load("outputs/cartpole/<time>").task
            observation, _ = env.reset(seed=0)
            agent.reset_memory()
            while not ended:
                observation, reward, terminated, truncated, _ = env.step(agent.act(observation))
                ended = terminated or truncated

        Args:
            observation: of one game, as `env.reset` and `env.step` return it: an array or tensor of the observation
                space's shape, a whole number for Discrete, a dict of such; or of N games, with a leading axis N
                everywhere. Scaling and normalisation are the agent's own affair.
            sample: draw the action from the policy, by torch's global generator; else take the most likely one, which
                leaves all generators alone.
            episode_start: the observation begins an episode, so that nothing before it is remembered; one truth value,
                or one for each game `[N]`. Needed only by agents with a memory; `reset_memory()` does the same.

        Returns:
            what `env.step` takes: an array of the action space's shape and type within its bounds, for Discrete a
            scalar; for N games with a leading axis N. No gradient flows through it.

        Raises:
            UserError: an observation that does not fit the observation space; N games, and the memory is of others.
        """
        return self.player.act(self.model, observation, sample=sample, episode_start=episode_start)

    def reset_memory(self) -> None:
        """Begin new episodes: `act` forgets what it has seen. Does nothing for an agent without a memory."""
        self.player.reset_memory()

    # --- training -----------------------------------------------------------------------------------------------------

    def program(self, estimator: Estimator) -> Program:
        """What the estimator differentiates.

        Rollouts with predictions where it asks for them; whole recorded episodes where it can use recorded actions;
        else episodes played under its own parameters, each action sampled by the estimator.

        Raises:
            UserError: fewer games than minibatches that they are to be divided into, or an option that the estimator
                has no use for.
        """
        if estimator.rollouts is not None:
            parts = estimator.rollouts.minibatches
            if parts > self.games:
                raise UserError(
                    f"estimator.minibatches = {parts}: expected at most task.games = {self.games}, each part holds"
                    " whole games"
                )
            self.experience.discount = getattr(estimator, "discount", 1.0)
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

    def begin(self, plan: TrainingPlan) -> None:
        if plan.resumed:
            self.experience.resume()

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Rollout | None]:
        """Experience of the current policy; what is random in batch number k is keyed by it."""
        if program.rollouts is not None:
            yield from self.experience.rollouts(program.rollouts, seed, start)
        number = start
        while True:
            if program.recorded_trajectories:
                yield self.experience.episodes(key(seed, "episodes", number))
            else:
                self.experience.commit_statistics()
                yield None
            number += 1

    def objective(self, context: Context, batch: Rollout) -> None:
        """Minus the return of whole episodes, charged step by step to the recorded actions."""
        policy = self.model.policy(batch.observations, batch.memory, batch.episode_start)
        context.observe("action", policy, batch.actions, mask=batch.valid)
        context.cost(-self.learning_rewards(batch.rewards), "return")

    def replay(self, context: Context, batch: Rollout) -> None:
        """The same for rollouts, with the predicted returns besides."""
        policy, values = self.model.policy_and_values(
            batch.observations, batch.memory, batch.episode_start
        )
        terminated = batch.terminated
        if self.terminal_on_life_loss and batch.life_lost is not None:
            terminated = terminated | batch.life_lost
        context.observe("action", policy, batch.actions, mask=batch.valid, behaviour=batch.log_prob)
        context.value(
            values[:-1],
            batch.next_values(values),
            terminated=terminated,
            truncated=batch.truncated,
            behaviour=batch.values,
        )
        context.cost(-self.learning_rewards(batch.rewards), "return")

    def learning_rewards(self, rewards: Tensor) -> Tensor:
        """Rewards as they are learned from, clipped and scaled; the environment's own are reported."""
        rewards = self.rewards.clipped(rewards)
        if self.model.return_scale is not None:
            rewards = self.model.return_scale(rewards)
        return self.rewards.scale * rewards

    def play_out(self, context: Context, batch: None) -> None:
        """Minus the return of episodes played now: `context.samples` games, each action sampled in the context."""
        games = self.experience.vector(context.samples)
        stopwatch = Stopwatch(games)
        earned, returns, lengths = torch.zeros(3, context.samples, device=self.device)
        number = 0

        def sample(
            observation: Observation, memory: Tensor | None, episode_start: Tensor
        ) -> tuple[Tensor, Tensor | None]:
            nonlocal number
            number += 1
            policy, memory = self.model.act(observation, memory, episode_start)
            return context.sample(f"action/{number}", policy, per_sample=True), memory

        for step in play(games, self.model, sample, fresh_key() % 2**31, self.device):
            earned = torch.where(step.failed, 0.0, earned + self.learning_rewards(step.rewards))
            returns = torch.where(step.failed, 0.0, returns + step.rewards.detach())
            lengths = torch.where(step.failed, 0.0, lengths + step.valid)
            self.experience.update_statistics(step.observation, step.valid)
        self.log.add(EpisodeStatistics(returns, lengths), int(lengths.sum()), stopwatch)
        context.cost(-earned, "return", per_sample=True)

    # --- measuring and showing ----------------------------------------------------------------------------------------

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """Greedy episodes, each from its own seeded start, and as many with actions sampled from the policy."""
        started = time.monotonic()
        metrics = self.metrics(*self.evaluation_runs(seed))
        self.log.evaluation_seconds += time.monotonic() - started
        return metrics

    def metrics(self, greedy: EpisodeStatistics, sampled: EpisodeStatistics) -> dict[str, float]:
        return {
            "return_mean": greedy.returns.mean().item(),
            "return_std": greedy.returns.std(correction=0).item(),
            "return_min": greedy.returns.min().item(),
            "length_mean": greedy.lengths.float().mean().item(),
            "return_stochastic": sampled.returns.mean().item(),
        }

    def evaluation_runs(self, seed: int) -> tuple[EpisodeStatistics, EpisodeStatistics]:
        """`evaluation_episodes` greedy episodes and as many with sampled actions, from the same starts."""
        games = self.experience.vector(self.evaluation_episodes, "evaluation")
        agent = self.model
        with seeded(seed):
            greedy = play_episodes(games, agent, agent.greedy_actions, seed, self.device)
            sampled = play_episodes(games, agent, agent.sample_actions, seed, self.device)
        return greedy, sampled

    def show(self, seed: int) -> Iterator[Media]:
        """The agent playing, and its returns over the training."""
        if returns := self.log.curve.values:
            figure = returns_over_training(self.environment.name, returns)
            yield Image.from_figure("returns", figure)
        yield from self.video(seed)

    def predict(self, source: Path | None, seed: int) -> Iterator[Media]:
        """The agent plays: a video, or with `task.window=true` a window, and the returns of its episodes.

        Raises:
            UserError: an input was given; an agent takes none.
        """
        if source is not None:
            raise UserError(f"input = '{source}': an agent plays its game and takes no input")
        yield from self.video(seed)
        greedy, sampled = self.evaluation_runs(seed)
        rows = ["policy,episode,return,length"]
        for policy, episodes in (("greedy", greedy), ("stochastic", sampled)):
            pairs = zip(episodes.returns.tolist(), episodes.lengths.tolist(), strict=True)
            rows += [f"{policy},{i},{earned:g},{n:g}" for i, (earned, n) in enumerate(pairs)]
        yield Text("returns", "\n".join(rows) + "\n", suffix=".csv")
        summary = {"environment": self.environment.name, **self.metrics(greedy, sampled)}
        yield Text("summary", json.dumps(summary, indent=2) + "\n", suffix=".json")

    def video(self, seed: int) -> Iterator[Video]:
        """One greedy episode, where the game can be rendered."""
        frames, rate = film(self.environment, self.model, seed, self.device, self.video_frames)
        if frames:
            yield Video("agent", numpy.stack(frames), rate)

    def scalars(self) -> dict[str, float]:
        return self.log.scalars

    # --- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The learning curve; for rollouts also the games as they stand and, within a rollout, the rollout itself."""
        return {**self.log.state_dict(), **self.experience.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.log.load_state_dict(state)
        self.experience.load_state_dict(state)

    def replace_model(self, model: nn.Module) -> None:
        super().replace_model(model)
        self.experience.agent = self.model
