"""The learners take turns: whose each rollout is, and the batches of all in that order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from framework import Program
from framework.randomness import key
from plugins.league.league.learners import Learner


def in_turn(learners: list[Learner], start: int) -> Iterator[tuple[int, Learner]]:
    """Rollout numbers from `start` on, and whose each is."""
    number = start
    while True:
        yield number, learners[number % len(learners)]
        number += 1


def batches(
    learners: list[Learner], program: Program, seed: int, start: int, uses: int
) -> Iterator[Any]:
    """Experience of the learner whose turn it is; what is random in batch number k is keyed by it.

    Args:
        start: the number of the first batch.
        uses: batches of a rollout.
    """
    number, done = divmod(start, uses)
    count = len(learners)
    own = {}
    for place, learner in enumerate(learners):
        before = (number - place + count - 1) // count
        inside = done if number % count == place else 0
        stream = key(seed, "learner", place)
        own[learner.name] = experience(program, learner, stream, before, before * uses + inside)
    for turn, learner in in_turn(learners, number):
        for _ in range(done if turn == number else 0, uses):
            yield next(own[learner.name])


def experience(
    program: Program, learner: Learner, seed: int, number: int, start: int
) -> Iterator[Any]:
    """One learner's batches from its rollout `number` on, whose next batch is its own number `start`."""
    if program.rollouts is not None:
        yield from learner.matches.rollouts(program.rollouts, seed, start)
    while True:
        if program.recorded_trajectories:
            yield learner.matches.episodes(key(seed, "episodes", number))
        else:
            learner.matches.log.settle()
            yield None
        number += 1
