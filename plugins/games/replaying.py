"""Steps for learning from a replay buffer: collected by the current policy, kept, and drawn again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch

from framework.config.types import CountOrZero
from framework.data import interruptible
from framework.randomness import generator, key, seeded
from framework.replay import ReplayedSteps, ReplayPlan
from framework.saved_state import check_saved
from plugins.games.ended import EndedEpisodes, EpisodeStatistics
from plugins.games.episode_log import Timing
from plugins.games.experience import Experience
from plugins.games.policies.critics import ActionValueHead
from plugins.games.replay_buffer import GameSteps, ReplayBuffer


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
            for _ in range(self.round_steps):
                self.collect()

    @torch.no_grad()
    def collect(self) -> None:
        """One step of every game, by the policy or at first by chance."""
        experience, agent = self.experience, self.experience.agent
        state, games = experience.state, experience.vector(experience.count)
        assert state is not None
        began, environment_before = time.monotonic(), games.seconds
        experience.commit_statistics()
        if isinstance(agent.head, ActionValueHead):
            agent.head.epsilon.fill_(self.plan.epsilon_after(self.steps))
        policy, _ = agent.act(state.observation, None, state.episode_start)
        by_chance = self.steps < self.plan.warmup_steps
        sampled = None if by_chance else policy.sample()
        unit = agent.head.any_action(policy) if sampled is None else agent.head.to_unit(sampled)
        outcome = games.timed_step(agent.head.from_unit(unit))
        led_to = outcome.final_observation
        terminated = experience.rewards.ends(outcome.terminated, outcome.life_lost)
        steps = GameSteps(
            observations=state.observation,
            actions=unit,
            rewards=experience.learning_rewards(outcome.rewards),
            next_observations=outcome.observations if led_to is None else led_to,
            terminated=terminated,
        )
        count = self.buffer.add(
            steps,
            valid=outcome.valid,
            episode_start=state.episode_start,
            ended=terminated | outcome.truncated,
        )
        experience.update_statistics(state.observation, outcome.valid)
        over = outcome.terminated | outcome.truncated
        returns, lengths = state.returns + outcome.rewards, state.lengths + outcome.valid
        if bool(over.any()):
            self.ended.append(EpisodeStatistics(returns[over], lengths[over]))
        goes_on = ~(over | outcome.episode_start)
        state.returns, state.lengths = returns * goes_on, lengths * goes_on
        state.observation, state.episode_start = outcome.observations, outcome.episode_start
        self.steps += count
        self.unlogged += count
        self.seconds += time.monotonic() - began
        self.environment += games.seconds - environment_before

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
