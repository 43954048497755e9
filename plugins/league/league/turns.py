"""The learners take turns: whose each rollout is, and the batches of all in that order; or they learn side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from framework import Program, UserError, ranks
from framework.randomness import key
from plugins.league.league.learners import Learner


def in_turn(learners: list[Learner], start: int) -> Iterator[tuple[int, Learner]]:
    """Rollout numbers from `start` on, and whose each is."""
    number = start
    while True:
        yield number, learners[number % len(learners)]
        number += 1


def side_by_side(program: Program, learners: list[Learner]) -> Program:
    """The program of all learners at once, each in a process or shard of its own.

    Raises:
        UserError: there are more or fewer processes than learners.
    """
    names = [learner.name for learner in learners]
    if ranks.size() != len(names):
        given = "trainer.shards" if ranks.shards() else "trainer.ranks"
        raise UserError(
            f"{given} = {ranks.size()}: expected {len(names)}, as many as the league has learners "
            f"({', '.join(names)}), or {given}=null, in which they take turns"
            if len(names) > 1
            else f"{given} = {ranks.size()}: a single learner learns in one process; expected {given}=null"
        )
    return replace(program, apart=tuple(f"{name}." for name in names))


def refuse_other_turns(saved: bool, now: bool) -> None:
    """Refuse to go on with learners in turns that have learned side by side, or the other way round.

    Raises:
        UserError: says how they have learned.
    """
    if saved != now:
        raise UserError(
            "checkpoint: its learners have learned side by side; expected trainer.shards as it was"
            if saved
            else "checkpoint: its learners have taken turns; expected trainer.shards=null and one process"
        )


def batches(
    learners: list[Learner], program: Program, seed: int, start: int, uses: int
) -> Iterator[Any]:
    """Experience of the learner whose turn it is; what is random in batch number k is keyed by it.

    Of learners side by side it is that of this process's.

    Args:
        start: the number of the first batch.
        uses: batches of a rollout.
    """
    number, done = divmod(start, uses)
    if program.apart:
        place = ranks.rank()
        yield from experience(program, learners[place], key(seed, "learner", place), number, start)
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
