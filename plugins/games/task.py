"""Playing a game: maximise the expected return, by whole episodes or by rollouts, whatever the estimator needs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import nn

from framework import (
    Context,
    Estimator,
    Image,
    Program,
    Task,
    Text,
    UserError,
    Video,
    ranks,
    waiting,
)
from framework.config.types import Count, CountOrZero, FractionBelowOne, Positive
from framework.media import Media
from framework.randomness import key
from framework.saved_state import check_saved
from framework.task import Split, TrainingPlan
from plugins.games.doctor import Doctor
from plugins.games.ended import EpisodeStatistics
from plugins.games.environments.making import make_games
from plugins.games.environments.options import EnvironmentOptions
from plugins.games.episode_log import EpisodeLog
from plugins.games.evaluation import greedy_and_sampled, metrics_of, table_of
from plugins.games.experience import Experience
from plugins.games.exporting import export_agent
from plugins.games.film import film
from plugins.games.memory_plan import MemoryPlan
from plugins.games.objectives import whole_episodes
from plugins.games.player import Player
from plugins.games.plot import returns_over_training
from plugins.games.policies.actions import Continuous
from plugins.games.policies.agent import Agent
from plugins.games.policies.bodies import Activation, BodyKind
from plugins.games.policies.critics import CriticKind
from plugins.games.policies.layout import decisions
from plugins.games.policies.memory import MemoryKind
from plugins.games.programs import program_for
from plugins.games.replaying import Replaying
from plugins.games.rewards import RewardOptions
from plugins.games.rollouts import Rollout

# Of a rollout, where nothing is said.
ROLLOUT_STEPS = 32


class Game(Task):
    """Play a game: one in torch or any gymnasium environment.

        framework.train(Game(environment=lambda: MyEnv()), estimator="ppo")

    Args:
        environment: a name such as `cart_pole`, `CartPole-v1`, `ALE/Pong-v5` or `mypackage:Bandit-v0`; in Python also
            an environment, which is copied, a function or class that makes one, one that makes a vector of `num_envs`,
            or a class of games in torch.
    """

    model: Agent
    # The games go on where they are.
    stateful: ClassVar[bool] = True
    primary_metric: ClassVar[str] = "return_mean"
    metric_mode: ClassVar[Literal["min", "max"]] = "max"
    progress_numbers: ClassVar[Mapping[str, str]] = {
        "return": "train/return",
        "length": "train/episode_length",
        "steps/s": "time/game_steps_per_second",
    }
    metric_descriptions: ClassVar[Mapping[str, str]] = {
        "return_mean": "mean undiscounted return of greedy episodes",
        "return_mean_standard_error": "its standard error, where there are several",
        "return_std": "the standard deviation of these returns",
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
        "doctor/cosine": "cosine of the policy's mean gradient with rloo's over whole episodes, noise taken out",
        "doctor/measured_cosine": "the same with the noise of both",
    }

    def __init__(
        self,
        *,
        environment: Any,
        trust: bool = False,
        environment_options: dict[str, Any] = {},  # noqa: B006
        wrappers: list[Any] = [],  # noqa: B006
        max_episode_steps: Count | None = None,
        longest_episode: Count = 1000,
        games: Count = 64,
        rollout_steps: Count | None = None,
        graph: bool = True,
        hidden: Annotated[list[Count], Field(min_length=1)] = [64],  # noqa: B006  (a schema's default)
        encoder: BodyKind = "auto",
        shared: bool = False,
        observation_indices: list[CountOrZero] | None = None,
        memory: MemoryKind = "none",
        memory_width: Count = 64,
        continuous: Continuous = "clipped",
        log_std_init: float = 0.0,
        state_dependent_std: bool = False,
        activation: Activation = "tanh",
        critic: CriticKind = "value",
        dueling: bool = False,
        normalise_observations: bool = False,
        normalise_returns: bool = False,
        reward_scale: Positive = 1.0,
        clip_rewards: bool = False,
        terminal_on_life_loss: bool = False,
        repeat_action_probability: FractionBelowOne = 0.0,
        processes: bool = False,
        window: bool = False,
        doctor_every: CountOrZero = 0,
        doctor_episodes: Count = 256,
        evaluation_episodes: Count = 100,
        video_frames: Count = 500,
    ) -> None:
        self.games = games
        self.rollout_steps = rollout_steps
        self.critic = critic
        self.evaluation_episodes = evaluation_episodes
        self.doctor_every, self.doctor_episodes = doctor_every, doctor_episodes
        self.video_frames = video_frames
        self.environment = EnvironmentOptions(
            environment=environment,
            trust=trust,
            arguments=environment_options,
            wrappers=wrappers,
            max_episode_steps=max_episode_steps,
            longest_episode=longest_episode,
            repeat_action_probability=repeat_action_probability,
            processes=processes,
            window=window,
        )
        self.rewards = RewardOptions(
            scale=reward_scale, clip=clip_rewards, terminal_on_life_loss=terminal_on_life_loss
        )
        game = make_games(self.environment, 1)
        if terminal_on_life_loss and not game.has_lives:
            raise UserError(
                f"task.terminal_on_life_loss = true: environment '{self.environment.name}' has no lives, "
                "Atari's games have some"
            )
        self.differentiable = game.differentiable
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
            state_dependent_std=state_dependent_std,
            activation=activation,
            critic=critic,
            dueling=dueling,
            normalise=normalise_observations,
            normalise_returns=normalise_returns,
        )
        self.decisions = [
            f"observation '{n}' is left out: no policy reads it" for n in game.left_out
        ]
        if encoder == "auto":
            self.decisions += decisions(game.observation_space)
        game.close()
        self.player = Player(game.observation_space, game.action_space, game.read)
        self.log = EpisodeLog()
        self.experience = Experience(
            self.environment,
            self.rewards,
            self.model,
            self.log,
            count=games,
            rollout_steps=rollout_steps or ROLLOUT_STEPS,
            graph=graph,
        )
        # What learns from a replay buffer; None: nothing does.
        self.replaying: Replaying | None = None
        self.doctor: Doctor | None = None

    # --- using the agent ----------------------------------------------------------------------------------------------

    def act(
        self,
        observation: Any,
        *,
        deterministic: bool = True,
        mask: Any = None,
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
            deterministic: take the most likely action, which leaves all generators alone; else draw it from the policy,
                by torch's global generator.
            mask: which actions are allowed, `[choices]` or `[N, choices]`, for an agent that was trained with masks;
                None: it is in the observation.
            episode_start: the observation begins an episode, so that nothing before it is remembered; one truth value,
                or one for each game `[N]`. Needed only by agents with a memory; `reset_memory()` does the same.

        Returns:
            what `env.step` takes: an array of the action space's shape and type within its bounds, for Discrete a
            scalar; for N games with a leading axis N. No gradient flows through it.

        Raises:
            UserError: an observation that does not fit the observation space; N games, and the memory is of others.
        """
        return self.player.act(
            self.model,
            observation,
            deterministic=deterministic,
            mask=mask,
            episode_start=episode_start,
        )

    def reset_memory(self) -> None:
        """Begin new episodes: `act` forgets what it has seen. Does nothing for an agent without a memory."""
        self.player.reset_memory()

    def export(self, path: str | Path, **options: Any) -> Path:
        """Write the greedy agent to `policy.onnx` or, for torch, `policy.pt2`; see `exporting`.

        Raises:
            UserError: another suffix, an option (there are none), or a package that is missing.
        """
        if options:
            raise UserError(
                f"unknown key 'export.{next(iter(options))}'; an agent's export has no options"
            )
        return export_agent(self.model, self.player, Path(path))

    def memory_plan(self, minibatches: int = 1) -> MemoryPlan | None:
        """What a training of rollouts takes of the device's memory, in bytes; None where the games are not in torch."""
        return self.experience.memory_plan(minibatches, self.evaluation_episodes)

    def tell_memory(self, minibatches: int) -> None:
        """Say it before the first rollout, on a device with memory of its own."""
        if waiting.queues(self.device) and (plan := self.memory_plan(minibatches)):
            self.experience.report(f"memory in MiB: {plan}")

    # --- training -----------------------------------------------------------------------------------------------------

    def program(self, estimator: Estimator) -> Program:
        """What the estimator differentiates; see `programs`.

        Raises:
            UserError: more minibatches than a rollout can be divided into, an option that the estimator has no use for,
                or fewer games than processes.
        """
        self.experience.divide()
        return program_for(self, estimator)

    def begin(self, plan: TrainingPlan) -> None:
        if self.replaying is not None and plan.accumulate > 1:
            raise UserError(
                f"trainer.accumulate = {plan.accumulate}: with a replay buffer expected 1; estimator.batch_size makes "
                "batches larger"
            )
        for decision in self.decisions if ranks.rank() == 0 else []:
            print(f"environment '{self.environment.name}': {decision}", file=sys.stderr, flush=True)
        if plan.resumed:
            self.experience.resume()

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Any]:
        """Experience of the current policy; what is random in batch number k is keyed by it."""
        if self.replaying is not None:
            yield from self.replaying.batches(seed, start)
        if program.rollouts is not None:
            self.tell_memory(program.rollouts.minibatches)
            yield from self.experience.rollouts(program.rollouts, seed, start)
        number = start
        while True:
            if program.recorded_trajectories:
                yield self.experience.episodes(key(seed, "episodes", number, ranks.rank()))
            else:
                self.log.settle()
                self.experience.commit_statistics()
                yield None
            number += 1

    def objective(self, context: Context, batch: Rollout) -> None:
        """Minus the return of whole episodes; what other estimators get stands in `objectives`."""
        whole_episodes(self.experience, context, batch)

    # --- measuring and showing ----------------------------------------------------------------------------------------

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """Greedy episodes, each from its own seeded start, and as many with actions sampled from the policy."""
        self.settle()
        started = time.monotonic()
        metrics = metrics_of(*self.evaluation_runs(seed))
        self.log.evaluation_seconds += time.monotonic() - started
        return metrics

    def evaluation_runs(self, seed: int) -> tuple[EpisodeStatistics, EpisodeStatistics]:
        """`evaluation_episodes` greedy episodes and as many with sampled actions, from the same starts."""
        games = self.experience.vector(self.evaluation_episodes, "evaluation")
        return greedy_and_sampled(games, self.model, seed, self.device)

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
        yield Text("returns", table_of(greedy, sampled), suffix=".csv")
        summary = {"environment": self.environment.name, **metrics_of(greedy, sampled)}
        yield Text("summary", json.dumps(summary, indent=2) + "\n", suffix=".json")

    def video(self, seed: int) -> Iterator[Video]:
        """One greedy episode, where the game can be rendered."""
        frames, rate = film(self.environment, self.model, seed, self.device, self.video_frames)
        if frames:
            yield Video("agent", frames, rate)

    def scalars(self) -> dict[str, float]:
        self.settle()
        return {**self.log.scalars, **({} if self.doctor is None else self.doctor.figures)}

    def settle(self) -> None:
        """Let the log count what was played and not yet looked at."""
        self.log.settle()
        if self.replaying is not None:
            self.replaying.settle()

    # --- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The learning curve; for rollouts and replayed steps also the games as they stand.

        Within a rollout there is the rollout itself, and with a replay buffer all that it holds.
        """
        replay = {} if self.replaying is None else {"replay": self.replaying.state_dict()}
        return {**self.log.state_dict(), **self.experience.state_dict(), **replay}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.log.load_state_dict(state)
        self.experience.load_state_dict(state)
        # An agent that is only used needs no buffer.
        if self.replaying is not None:
            check_saved("the task", state, replay=dict[str, Any])
            self.replaying.load_state_dict(state["replay"])

    def replace_model(self, model: nn.Module) -> None:
        super().replace_model(model)
        self.experience.agent = self.model
