"""Playing a game: maximise the expected return of whole episodes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy
import torch
from gymnasium.vector import VectorEnv
from pydantic import Field
from torch import Tensor

from framework import Context, Estimator, Image, Program, Task, Video
from framework.randomness import fresh_key, key
from plugins.games.environments import make_drawn, make_vector
from plugins.games.episodes import Episodes, play, record
from plugins.games.plot import returns_over_training
from plugins.games.policy import MultilayerPolicy

Count = Annotated[int, Field(ge=1)]


class Game(Task):
    """Play any gymnasium environment with a discrete choice of actions."""

    headline: ClassVar[str] = "return_mean"
    goal: ClassVar[Literal["min", "max"]] = "max"

    def __init__(
        self,
        *,
        environment: str,
        games: Count = 64,
        hidden: list[Count] = [64],  # noqa: B006  (a schema's default, never changed)
        evaluation_episodes: Count = 100,
        video_frames: Count = 500,
    ) -> None:
        self.environment = environment
        self.games = games
        self.evaluation_episodes = evaluation_episodes
        self.video_frames = video_frames
        self.vectors: dict[int, VectorEnv[Any, Any, Any]] = {}
        vector = self.vector(games)
        self.model = MultilayerPolicy(
            vector.single_observation_space, vector.single_action_space, hidden
        )
        self.history: list[float] = []  # mean return of each step's episodes
        self.latest: dict[str, float] = {}

    def program(self, estimator: Estimator) -> Program:
        """Estimators that can use recorded episodes replay them; the others play, drawing each action anew."""
        if estimator.replays:
            return self.as_program(self.objective, steps=True)
        return self.as_program(self.play_out)

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Episodes | None]:
        """Episodes played by the current policy, one of each game; batch number k has its own keyed seed."""
        number = start
        while True:
            if program.steps:
                began = time.monotonic()
                with torch.no_grad():
                    vector = self.vector(self.games)
                    episodes = record(
                        vector, self.act, key(seed, "episodes", number) % 2**31, self.device
                    )
                self.note(episodes, time.monotonic() - began)
                yield episodes
            else:
                yield None
            number += 1

    def objective(self, context: Context, batch: Episodes) -> None:
        """Minus the return, charged step by step to the recorded actions."""
        choices = self.model(batch.observations)
        context.observe("action", choices, batch.actions, mask=batch.valid)
        context.cost(-batch.rewards, "return")

    def play_out(self, context: Context, batch: None) -> None:
        """Minus the return of episodes played now: `context.samples` games, each action a draw."""
        earned = torch.zeros(context.samples, device=self.device)
        number = 0

        def act(observations: Tensor) -> Tensor:
            nonlocal number
            number += 1
            return context.sample(f"action/{number}", self.model(observations), per_sample=True)

        for step in play(self.vector(context.samples), act, fresh_key() % 2**31, self.device):
            earned = earned + step.rewards
        context.cost(-earned, "return")

    def evaluate(self, seed: int) -> dict[str, float]:
        """Greedy episodes, each from its own seeded start."""
        episodes = record(
            self.vector(self.evaluation_episodes), self.act_greedily, seed, self.device
        )
        returns = episodes.returns
        return {
            "return_mean": returns.mean().item(),
            "return_std": returns.std(correction=0).item(),
            "return_min": returns.min().item(),
            "length_mean": episodes.lengths.float().mean().item(),
        }

    def show(self, seed: int) -> Iterator[Image | Video]:
        """The agent playing, and its returns over the training."""
        if self.history:
            yield Image.from_figure(
                "returns", returns_over_training(self.environment, self.history)
            )
        frames, rate = self.film(seed)
        if frames:
            yield Video("agent", numpy.stack(frames), rate)

    def film(self, seed: int) -> tuple[list[Any], float]:
        """Frames of one greedy episode, every second one, and their rate; none where the game cannot be drawn."""
        game = make_drawn(self.environment)
        if game is None:
            return [], 1.0
        observation, _ = game.reset(seed=seed)
        frames = [numpy.asarray(game.render())]
        for number in range(1, self.video_frames):
            seen = torch.as_tensor(observation, dtype=torch.float32, device=self.device)
            action = self.act_greedily(seen.unsqueeze(0)).item()
            observation, _, terminated, truncated, _ = game.step(action)
            if number % 2 == 0:
                frames.append(numpy.asarray(game.render()))
            if terminated or truncated:
                break
        rate = game.metadata.get("render_fps", 50) / 2
        game.close()
        return frames, float(rate)

    def scalars(self) -> dict[str, float]:
        return self.latest

    def state_dict(self) -> dict[str, Any]:
        return {"history": list(self.history)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = list(state["history"])

    def act(self, observations: Tensor) -> Tensor:
        return self.model(observations).sample()  # type: ignore[no-any-return]

    def act_greedily(self, observations: Tensor) -> Tensor:
        return self.model(observations).logits.argmax(-1)  # type: ignore[no-any-return]

    def vector(self, count: int) -> VectorEnv[Any, Any, Any]:
        """A vector of `count` games, made once."""
        if count not in self.vectors:
            self.vectors[count] = make_vector(self.environment, count)
        return self.vectors[count]

    def note(self, episodes: Episodes, seconds: float) -> None:
        """Episode statistics for the log."""
        steps = int(episodes.lengths.sum())
        self.history.append(episodes.returns.mean().item())
        self.latest = {
            "train/return": self.history[-1],
            "train/episode_length": steps / self.games,
            "time/game_steps_per_second": steps / max(seconds, 1e-9),
        }
