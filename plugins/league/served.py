"""Which estimators serve matches, by what they declare."""

from __future__ import annotations

from framework import Estimator, UserError
from framework.capabilities import able

# What moves in matches are drawn from, in the words of `Capabilities.draws`.
MOVES = ({"GumbelMaxCategorical", "finite"},)


def recording() -> str:
    """The estimators that learn from recorded matches, and from rollouts."""
    return ", ".join([*able(value_predictions=True), *able(MOVES, recorded_actions=True)])


def refuse_replay(estimator: Estimator) -> None:
    """Refuse an estimator that learns from steps of long ago.

    Raises:
        UserError: names those that learn from matches.
    """
    if estimator.replay is not None:
        raise UserError(
            "estimator: a replay buffer would hold matches against opponents that are no more; "
            f"expected one of {recording()}"
        )


def refuse_unserved(estimator: Estimator, *, learners: int) -> None:
    """Refuse an estimator that plays matches itself and cannot know what it gets.

    Raises:
        UserError: names the estimators that can serve.
    """
    declared = estimator.declared
    if declared is not None and declared.delegates:
        return
    if learners > 1:
        raise UserError(
            f"estimator: one that learns from no recorded matches cannot serve {learners} learners, each in its turn; "
            f"expected one of {recording()}, or task.main_exploiters=0 task.league_exploiters=0"
        )
    if declared is not None and not declared.own_randomness:
        served = ", ".join(able(MOVES, own_randomness=True))
        raise UserError(
            "estimator: all chance has to be its own draws, and in a match cards and opponents are drawn, "
            f"too; expected one of {served}"
        )
