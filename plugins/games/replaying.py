"""Steps for learning from a replay buffer: collected by the current policy, kept, and drawn again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from framework.batch import map_tensors
from framework.config.types import CountOrZero
from framework.data import interruptible
from framework.randomness import generator, key, seeded
from framework.replay import ReplayedSteps, ReplayPlan
from framework.saved_state import check_saved
from plugins.games.ended import EndedEpisodes, EpisodeStatistics
from plugins.games.environments.games import Games, Observation, Outcome
from plugins.games.episode_log import Stopwatch, Timing
from plugins.games.experience import Experience
from plugins.games.policies.critics import ActionValueHead
from plugins.games.replay_buffer import GameSteps, ReplayBuffer


@dataclass(frozen=True, slots=True)
class Taken:
    """One step of every game: what was seen before it, the actions as a critic reads them, and what they led to."""

    observation: Observation
    episode_start: Tensor
    unit: Tensor
    outcome: Outcome


class Replaying:
    """Collects steps in the games of `experience` and replays them.

    Args:
        round_steps: steps of every game that are taken between two updates, or none are: with many, as many updates
            follow as are due, all of them from what one policy has collected.

    Attributes:
        steps: taken so far.
        buffer: the latest of them.
    """

    def __init__(self, experience: Experience, plan: ReplayPlan, round_steps: int = 1) -> None:
        self.experience, self.plan, self.round_steps = experience, plan, round_steps
        self.buffer = ReplayBuffer(plan.capacity, experience.count, experience.device)
        self.steps = 0
        # Since the log was last told.
        self.ended: list[EpisodeStatistics] = []
        self.unlogged, self.seconds, self.environment = 0, 0.0, 0.0

    def batches(self, seed: int, start: int) -> Iterator[ReplayedSteps]:
        """Batches for the updates from number `start` on; what is random for number k is keyed by it."""
        self.experience.begin(seed, start)
        number = start
        while True:
            if self.steps < self.plan.steps_before(number):
                with interruptible(), seeded(key(seed, "collect", number)):
                    self.collect_rounds(self.plan.steps_before(number))
            random = generator(seed, "replay", number)
            yield self.buffer.sample(
                self.plan.batch_size, self.plan.n_step, self.plan.discount, random
            )
            number += 1

    def collect_rounds(self, steps: int) -> None:
        """Whole rounds, until that many steps have been taken."""
        while self.steps < steps:
            self.collect_round()

    @torch.no_grad()
    def collect_round(self) -> None:
        """Some steps of every game, by the policy or at first by chance, into the buffer."""
        games = self.experience.vector(self.experience.count)
        stopwatch = Stopwatch(games)
        self.experience.commit_statistics()
        taken: list[Taken] = []
        try:
            for _ in range(self.round_steps):
                taken.append(self.take(games))
        finally:
            # Where a signal ends the round, what was taken before is not lost.
            if taken:
                self.keep(taken)
            timing = stopwatch.stop()
            self.seconds += timing.seconds
            self.environment += timing.environment

    def take(self, games: Games) -> Taken:
        """One step of every game."""
        agent, state = self.experience.agent, self.experience.state
        head = agent.head
        assert state is not None
        if isinstance(head, ActionValueHead):
            head.epsilon.fill_(self.plan.epsilon_after(self.steps))
        policy, _ = agent.act(state.observation, None, state.episode_start)
        by_chance = self.steps < self.plan.warmup_steps
        unit = head.any_action(policy) if by_chance else head.to_unit(policy.sample())
        outcome = games.timed_step(head.from_unit(unit))
        taken = Taken(state.observation, state.episode_start, unit, outcome)
        state.observation, state.episode_start = outcome.observations, outcome.episode_start
        count = outcome.valid.tolist().count(True)
        self.steps += count
        self.unlogged += count
        return taken

    def keep(self, taken: Sequence[Taken]) -> None:
        """Write a round's steps, and count its episodes."""
        experience, state = self.experience, self.experience.state
        assert state is not None

        def stacked(parts: Iterable[Any]) -> Any:
            return map_tensors(lambda *rows: torch.stack(rows), *parts)

        outcomes = [step.outcome for step in taken]
        rewards, valid, over, truncated = (
            stacked(getattr(outcome, name) for outcome in outcomes)
            for name in ("rewards", "valid", "terminated", "truncated")
        )
        lost = None if outcomes[0].life_lost is None else stacked(o.life_lost for o in outcomes)
        terminated = experience.rewards.ends(over, lost)
        steps = GameSteps(
            observations=stacked(step.observation for step in taken),
            actions=stacked(step.unit for step in taken),
            rewards=experience.learning_rewards(rewards),
            next_observations=stacked(
                o.observations if o.final_observation is None else o.final_observation
                for o in outcomes
            ),
            terminated=terminated,
        )
        episode_start = stacked(step.episode_start for step in taken)
        self.buffer.add(
            steps, valid=valid, episode_start=episode_start, ended=terminated | truncated
        )
        experience.update_statistics(steps.observations, valid)
        over = over | truncated
        begins = over | stacked(outcome.episode_start for outcome in outcomes)
        returns, state.returns = running_sums(rewards, begins, state.returns)
        lengths, state.lengths = running_sums(valid, begins, state.lengths)
        if bool(over.any()):
            self.ended.append(EpisodeStatistics(returns[over], lengths[over]))

    def settle(self) -> None:
        """Tell the log what was collected since the last time."""
        if not self.unlogged:
            return
        none = [EpisodeStatistics(torch.zeros(0), torch.zeros(0))]
        ended = self.ended or none
        episodes = EpisodeStatistics(
            torch.cat([part.returns for part in ended]), torch.cat([part.lengths for part in ended])
        )
        timing = Timing(time.monotonic() - self.seconds, self.seconds, self.environment)
        steps = torch.tensor(self.unlogged)
        self.experience.log.add(EndedEpisodes.whole(episodes, steps), timing)
        self.ended, self.unlogged, self.seconds, self.environment = [], 0, 0.0, 0.0

    def state_dict(self) -> dict[str, Any]:
        self.settle()
        return {"steps": self.steps, "buffer": self.buffer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            UserError: it holds something else, or the buffer is of another size.
        """
        check_saved("the replayed games", state, steps=CountOrZero, buffer=dict[str, Any])
        self.steps = state["steps"]
        self.buffer.load_state_dict(state["buffer"])


def running_sums(values: Tensor, last: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """What `values [T, N]` of the episode under way have added up to by each step.

    Args:
        last: `[T, N]`, the next step begins again with 0.
        before: `[N]`, what there was before the first step.

    Returns:
        the sums `[T, N]`, and with what `[N]` the step after them begins.
    """
    totals = torch.cat([before.unsqueeze(0), values]).double().cumsum(0)
    # The number of the latest row after which a sum began again; at first row 0 is 0 itself.
    rows = torch.arange(1, len(values) + 1, device=values.device).unsqueeze(1)
    latest = torch.cat([torch.zeros_like(rows[:1] * last[:1]), rows * last]).cummax(0).values
    begun = torch.where(latest > 0, totals.gather(0, latest), 0.0)
    sums = totals - torch.cat([torch.zeros_like(begun[:1]), begun[:-1]])
    after = totals[-1] - begun[-1]
    return sums[1:].to(before.dtype), after.to(before.dtype)
