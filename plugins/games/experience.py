"""Experience: the environments that an agent is trained in, and the rollouts and episodes collected in them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from framework import UserError, ranks, waiting
from framework.batch import leaves, map_tensors
from framework.data import interruptible
from framework.program import RolloutPlan
from framework.randomness import generator, key, seeded
from framework.saved_state import check_saved
from plugins.games.captured import CapturedRollout
from plugins.games.ended import EndedEpisodes, EpisodeStatistics
from plugins.games.environments.foreign.repeating import NotRepeatable
from plugins.games.environments.games import Games, Observation
from plugins.games.environments.making import make_games
from plugins.games.environments.native.games import NativeGames
from plugins.games.environments.options import EnvironmentOptions
from plugins.games.episode_log import EpisodeLog, Stopwatch, Timing
from plugins.games.memory_plan import MemoryPlan, memory_plan
from plugins.games.pieces import in_pieces
from plugins.games.policies.agent import Agent
from plugins.games.rewards import RewardOptions
from plugins.games.rollouts import (
    Rollout,
    RolloutBuffer,
    RolloutState,
    begin_episodes,
    collect_episodes,
    collect_rollout,
    discounted_returns,
)


def tensors_of(kind: type[RolloutState] | type[Rollout]) -> dict[str, Any]:
    """What the fields of a saved rollout hold, by name."""
    observed = Tensor | dict[str, Tensor]
    kinds = {"Observation": observed, "Tensor": Tensor, "Tensor | None": Tensor | None}
    return {field.name: kinds[str(field.type)] for field in fields(kind)}


def refuse_unlike(name: str, saved: dict[str, Any]) -> None:
    """Refuse saved tensors that do not count the same games.

    Raises:
        UserError: names the tensor.
    """
    # Of a rollout axis 0 counts steps, and of a memory its parts.
    axes = {field: int(name == "rollout" or field == "memory") for field in saved}
    games = tuple(saved["episode_start"].shape[axes["episode_start"] :])
    for field, axis in axes.items():
        for tensor in leaves(saved[field]):
            if len(games) != 1 or tuple(tensor.shape[axis : axis + 1]) != games:
                raise UserError(
                    f"checkpoint: the games' {name} '{field}' has shape {list(tensor.shape)}, and 'episode_start' "
                    f"{list(saved['episode_start'].shape)}: they must count the same games on axis {axis}"
                )


class Experience:
    """Collects rollouts and whole episodes of the current policy.

    Args:
        agent: acts, and keeps the running statistics of what is collected.
        count: games played at once, by all that train together; each has its part of them from `divide` on.
        rollout_steps: T, the steps of a rollout.
        graph: on a GPU, record a rollout of games in torch once and replay it.

    Attributes:
        discount, trace_decay: the estimator's gamma and lambda.
        examine: called with each rollout that has been played, its number and a seed.
        pieces: steps of the pieces into which a rollout is cut for minibatches; None: they are whole games.
        state: where the games stand between two rollouts; None: no rollout was collected.
        current: the rollout whose minibatches are being handed out.
    """

    def __init__(
        self,
        environment: EnvironmentOptions,
        rewards: RewardOptions,
        agent: Agent,
        log: EpisodeLog,
        *,
        count: int,
        rollout_steps: int,
        graph: bool = True,
    ) -> None:
        self.environment = environment
        self.rewards = rewards
        self.agent = agent
        self.log = log
        self.count = self.whole_count = count
        self.rollout_steps = rollout_steps
        self.graph = graph
        self.discount = self.trace_decay = 1.0
        self.pieces: int | None = None
        self.examine: Callable[[Rollout, int, int], None] | None = None
        self.state: RolloutState | None = None
        self.current: Rollout | None = None
        self.captured: CapturedRollout | None = None
        self.vectors: dict[tuple[str, int], Games] = {}
        # The states in a checkpoint, one for each process, until `resume`; the next rollouts go on from its own.
        self.restored: list[dict[str, Any]] = []
        self.resumed = False

    def memory_plan(self, minibatches: int, evaluation_episodes: int) -> MemoryPlan | None:
        """What a training takes of the device's memory; None where the games are not in torch."""
        return memory_plan(
            self.agent,
            self.environment,
            games=self.count,
            rollout_steps=self.rollout_steps,
            minibatches=minibatches,
            evaluation_episodes=evaluation_episodes,
        )

    @property
    def device(self) -> torch.device:
        return next(self.agent.parameters()).device

    def divide(self) -> None:
        """Play this process's part of the games.

        Raises:
            UserError: there are fewer games than processes.
        """
        if self.whole_count < ranks.size():
            raise UserError(
                f"task.games = {self.whole_count}{ranks.described()}: expected one game at least for each"
            )
        own = ranks.part(self.whole_count)
        self.count = own.stop - own.start

    def vector(self, count: int, purpose: str = "training") -> Games:
        """A vector of `count` games, built once for each purpose: evaluation must not disturb a rollout.

        Only those of training have processes: each of an evaluation's many games would hold one for the whole run.
        """
        if (purpose, count) not in self.vectors:
            processes = self.environment.processes and purpose == "training"
            self.vectors[purpose, count] = make_games(
                self.environment, count, self.device, processes=processes
            )
        return self.vectors[purpose, count]

    def episodes(self, seed: int) -> Rollout:
        """Whole episodes, one from each game."""
        games = self.vector(self.count)
        stopwatch = Stopwatch(games)
        self.commit_statistics()
        with interruptible(), seeded(seed):
            rollout = collect_episodes(
                games, self.agent, self.agent.sample_actions, seed % 2**31, self.device
            )
        self.update_statistics(rollout.observations, rollout.valid)
        episodes = EpisodeStatistics(rollout.returns, rollout.lengths)
        self.note(EndedEpisodes.whole(episodes), stopwatch.stop())
        return rollout

    def note(self, episodes: EndedEpisodes, timing: Timing) -> None:
        """Give episodes to the log, which looks at them at once where nothing has to be waited for.

        Several processes look together.
        """
        self.log.add_later(episodes, timing)
        if ranks.size() > 1 or not waiting.queues(self.device):
            self.log.settle()

    def rollouts(self, plan: RolloutPlan, seed: int, start: int) -> Iterator[Rollout]:
        """Minibatches from number `start` on: each rollout `epochs` times, its games divided again in each epoch.

        Where there are more minibatches than games, their pieces are divided.
        """
        uses = plan.epochs * plan.minibatches
        number, done = divmod(start, uses)
        buffer = RolloutBuffer(self.rollout_steps)
        self.begin(seed, start)
        while True:
            if done == 0 or self.current is None:
                played = self.rollout(buffer, key(seed, "rollout", number, ranks.rank()))
                if self.examine is not None and ranks.rank() == 0:
                    with ranks.alone():
                        self.examine(played, number, key(seed, "doctor", number))
                self.current = self.cut(played)
            rollout = self.current
            for part in range(done, uses):
                epoch, which = divmod(part, plan.minibatches)
                batch = rollout
                if plan.minibatches > 1:
                    random = generator(seed, "parts", number, epoch)
                    games = rollout.rewards.shape[1]
                    order = torch.randperm(games, generator=random)
                    order = order.to(self.device, non_blocking=True)
                    batch = rollout.select_games(order.tensor_split(plan.minibatches)[which])
                if part + 1 == uses:
                    # A checkpoint between two rollouts needs neither.
                    self.current = None
                yield batch
            number, done = number + 1, 0

    def begin(self, seed: int, start: int) -> None:
        """Go on where a resumed run's games stood, if they could be saved; else begin new episodes."""
        if not self.resumed:
            self.state = self.current = None
        self.resumed = False
        if self.state is None:
            self.state = begin_episodes(
                self.vector(self.count),
                self.agent,
                key(seed, "games", start, ranks.rank()) % 2**31,
                self.device,
            )

    def rollout(self, buffer: RolloutBuffer, seed: int) -> Rollout:
        """The next rollout of the current policy, in the tensors of `buffer`."""
        assert self.state is not None
        games = self.vector(self.count)
        stopwatch = Stopwatch(games)
        self.commit_statistics()
        with seeded(seed):
            fill = self.replayed(games, self.state, buffer)
            rollout, episodes = collect_rollout(games, self.agent, self.state, buffer, fill)
        # The last row is the next rollout's first one.
        seen = map_tensors(lambda part: part[:-1], rollout.observations)
        self.update_statistics(seen, rollout.valid)
        self.update_return_scale(rollout, self.state)
        self.note(episodes, stopwatch.stop())
        return rollout

    def replayed(
        self, games: Games, state: RolloutState, buffer: RolloutBuffer
    ) -> CapturedRollout | None:
        """What plays rollouts of games in torch on an accelerator; None where each step is played by itself."""
        if not (self.graph and isinstance(games, NativeGames) and waiting.queues(self.device)):
            return None
        if self.captured is None or not self.captured.serves(state, buffer):
            self.captured = CapturedRollout(games, self.agent, state, buffer)
        if refused := self.captured.captured.refused:
            self.graph = False
            self.report(f"rollouts are not replayed as a graph: {refused}")
        return self.captured

    def report(self, what: str) -> None:
        """A line on standard error, by the first of several processes."""
        if ranks.rank() == 0:
            print(f"environment '{self.environment.name}': {what}", file=sys.stderr, flush=True)

    def cut(self, rollout: Rollout) -> Rollout:
        """The rollout in the pieces that minibatches consist of."""
        if self.pieces is None:
            return rollout
        with torch.no_grad():
            rewards = self.learning_rewards(rollout.rewards)
        return in_pieces(rollout, self.agent, rewards, self.pieces, self.discount, self.trace_decay)

    def learning_rewards(self, rewards: Tensor) -> Tensor:
        """Rewards as they are learned from, clipped and scaled; the environment's own are reported."""
        rewards = self.rewards.clipped(rewards)
        if self.agent.return_scale is not None:
            rewards = self.agent.return_scale(rewards)
        return rewards if self.rewards.scale == 1 else self.rewards.scale * rewards

    def commit_statistics(self) -> None:
        """Normalise by the statistics of all that was collected before."""
        if self.agent.normaliser is not None:
            self.agent.normaliser.merge()
            self.agent.normaliser.commit()

    def update_statistics(self, observations: Observation, valid: Tensor) -> None:
        """Add the observations `[..., *shape]` before valid steps `[...]` to the normaliser's statistics."""
        if self.agent.normaliser is not None:
            self.agent.normaliser.update(observations, valid)  # type: ignore[arg-type]

    def update_return_scale(self, rollout: Rollout, state: RolloutState) -> None:
        """Add a rollout's discounted returns; they count at once, since no action depends on them."""
        if self.agent.return_scale is not None:
            returns = discounted_returns(
                self.rewards.clipped(rollout.rewards),
                rollout.episode_start,
                state.discounted,
                self.discount,
            )
            state.discounted = returns[-1]
            self.agent.return_scale.update(returns, rollout.valid)

    def resume(self) -> None:
        """Put the games and the rollout of the loaded state in place; the next rollouts go on from them."""
        states, self.restored, self.resumed = self.restored, [], True
        try:
            restored = self.own_state(states)
            self.current, self.state = restored.get("rollout"), restored.get("state")
            if self.state is None:
                return
            if restored["games"] is None:
                raise NotRepeatable("its games cannot be saved")
            self.vector(self.count).load_state_dict(restored["games"])
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UserError(f"checkpoint: the games do not fit ({reason})") from error
        except NotRepeatable as error:
            # The rollout under way was played before; the next one begins new episodes.
            self.state = None
            self.report(
                f"{error}; new episodes begin, so that the run does not end with the bits of an uninterrupted one"
            )

    def own_state(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """This process's state among those of a checkpoint.

        Raises:
            NotRepeatable: they are of another number of processes.
        """
        if not any(states):
            return {}
        if len(states) != ranks.size():
            self.current = None
            raise NotRepeatable(f"the checkpoint's games were divided into {len(states)} parts")
        return states[ranks.rank() if len(states) > 1 else 0]

    def state_dict(self) -> dict[str, Any]:
        """The games as they stand and, within a rollout, the rollout itself; of several processes those of each.

        Games that cannot be saved (Atari's) are None: a run that is resumed says so and begins new episodes in them.
        """
        if self.agent.normaliser is not None:
            self.agent.normaliser.merge()
        saved: dict[str, Any] = {}
        if self.state is not None:
            saved["position"] = {n: getattr(self.state, n) for n in RolloutState.__slots__}
            saved["games"] = self.vector(self.count).state_dict()
        if self.current is not None:
            saved["rollout"] = dict(vars(self.current))
        return {"divided": ranks.gathered(saved)} if ranks.size() > 1 else saved

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Keep what `state_dict` returned for `resume`: an agent that is only used needs no games.

        Raises:
            UserError: a tensor is missing, or something else stands in its place.
        """
        self.restored = []
        if "divided" in saved:
            check_saved("the games", saved, divided=list[dict[str, Any]])
        self.restored = [self.checked(part) for part in saved.get("divided", [saved])]

    def checked(self, saved: dict[str, Any]) -> dict[str, Any]:
        """One process's state, on this device.

        Raises:
            UserError: as `load_state_dict`.
        """
        restored: dict[str, Any] = {}
        for name, kind in (("position", RolloutState), ("rollout", Rollout)):
            if name in saved:
                check_saved(f"the games' {name}", saved[name], **tensors_of(kind))
                refuse_unlike(name, saved[name])
        if "position" in saved:
            state = RolloutState(**map_tensors(self.placed, saved["position"]))
            restored = {"games": saved.get("games"), "state": state}
        if "rollout" in saved:
            restored["rollout"] = Rollout(**map_tensors(self.placed, saved["rollout"]))
        return restored

    def placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device)
