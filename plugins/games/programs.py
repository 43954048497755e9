"""Which objective an estimator gets of a game, by its declared capabilities; the game stays the same.

- decisions on replayed observations, where it learns a critic of actions;
- rollouts with predicted returns, where it asks for them;
- whole recorded episodes, where it can use recorded actions;
- else episodes played under its own parameters, each action sampled by the estimator.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from gymnasium.spaces import Discrete

from framework import Estimator, Program, UserError
from framework.capabilities import able
from framework.program import RolloutPlan
from framework.replay import ReplayPlan
from plugins.games.doctor import Doctor
from plugins.games.objectives import decide, play_out, rollouts
from plugins.games.pieces import piece_length
from plugins.games.replaying import Replaying

if TYPE_CHECKING:
    from plugins.games.task import Game


def program_for(game: Game, estimator: Estimator) -> Program:
    """What the estimator differentiates.

    Raises:
        UserError: more minibatches than a rollout can be divided into, or an option that the estimator has no use for.
    """
    if estimator.replay is not None:
        return replayed(game, estimator.replay)
    if game.critic == "action_value":
        raise UserError(
            "task.critic = 'action_value': served are estimators that learn a critic from replayed steps "
            f"({', '.join(critic_learners())}); others need task.critic=value"
        )
    if estimator.rollouts is not None:
        return by_rollouts(game, estimator, estimator.rollouts)
    refuse_predictions_options(game)
    if estimator.supports_recorded_actions:
        return by_episodes(game)
    program = game.as_program(partial(play_out, game.experience))
    # Each run begins new games; those in torch are the same again with the same draws.
    return replace(program, repeatable=game.differentiable)


def replayed(game: Game, plan: ReplayPlan) -> Program:
    """One decision for each replayed step."""
    refuse_unfit_critic(game, plan)
    game.replaying = Replaying(game.experience, plan, game.rollout_steps or 1)
    return replace(game.as_program(partial(decide, game.experience)), batch_axes=1)


def by_rollouts(game: Game, estimator: Estimator, plan: RolloutPlan) -> Program:
    """Recorded rollouts with predictions; looked at by the doctor where that is wanted."""
    experience = game.experience
    experience.pieces = piece_length(
        plan.minibatches,
        experience.count,
        experience.rollout_steps,
        recurrent=game.model.memory is not None,
    )
    experience.discount = getattr(estimator, "discount", 1.0)
    experience.trace_decay = getattr(estimator, "gae_lambda", 1.0)
    program = game.as_program(
        partial(rollouts, experience), recorded_trajectories=True, rollouts=plan
    )
    program = replace(program, capturable=experience.graph)
    if game.doctor_every:
        experience.examine = game.doctor = Doctor(
            experience,
            estimator,
            program,
            by_episodes(game),
            every=game.doctor_every,
            episodes=game.doctor_episodes,
        )
    return program


def by_episodes(game: Game) -> Program:
    """Whole recorded episodes."""
    return game.as_program(game.objective, recorded_trajectories=True)


def refuse_predictions_options(game: Game) -> None:
    """Refuse what needs predicted returns.

    Raises:
        UserError: names the option.
    """
    served = ", ".join(able(value_predictions=True))
    if game.doctor_every:
        raise UserError(
            f"task.doctor_every = {game.doctor_every}: compared with rloo are estimators that read predictions "
            f"({served}); others by trainer.quality"
        )
    if game.model.return_scale is not None:
        raise UserError(
            f"task.normalise_returns = true: served are estimators that read predictions ({served}); "
            "others need task.reward_scale"
        )


def refuse_unfit_critic(game: Game, plan: ReplayPlan) -> None:
    """Refuse an agent that an estimator with a replay buffer cannot teach.

    Raises:
        UserError: names the option.
    """
    finite = isinstance(game.player.action_space, Discrete)
    fitting = ", ".join(critic_learners(finite))
    if finite != plan.finite_actions:
        kind = "one of finitely many" if finite else "numbers"
        raise UserError(
            f"environment '{game.environment.name}': its actions are {kind}; estimators that learn a critic of "
            f"such: {fitting}"
        )
    if game.critic != "action_value":
        raise UserError(
            f"task.critic = '{game.critic}': estimators that learn from replayed steps ({fitting}) need "
            "task.critic=action_value"
        )
    if game.model.return_scale is not None:
        raise UserError(
            "task.normalise_returns = true: replayed rewards keep their size; use task.reward_scale"
        )
    if game.doctor_every:
        raise UserError(
            f"task.doctor_every = {game.doctor_every}: compared with rloo are estimators that read predictions "
            f"({', '.join(able(value_predictions=True))})"
        )


def critic_learners(finite: bool | None = None) -> list[str]:
    """The estimators that learn a critic of actions: of finitely many, of numbers, or all of them."""
    kinds = {True: ("finite",), False: ("path",), None: ("path", "finite")}[finite]
    found = [name for kind in kinds for name in able([{kind}], action_values=True)]
    return list(dict.fromkeys(found))
