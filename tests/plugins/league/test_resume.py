"""A league that is interrupted and resumed has the same matches and the same parameters as one that is not."""

import pytest
import torch

import framework
from framework import UserError
from framework.randomness import seeded
from plugins.league.exact import ExactLeague
from plugins.league.task import League


def league(kind=ExactLeague, **options):
    small = {"game": "kuhn", "boards": 16, "hidden": [8], "rollout_steps": 3, "snapshot_every": 1}
    small |= {"anchors": [], "tournament_matches": 0, "opponents_at_once": 3}
    with seeded(1):
        # A task object's first parameters are drawn where it is made.
        return kind(**{**small, **options})


def trained(folder, task, steps, **options):
    return framework.train(
        task, folder=folder, seed=4, estimator="ppo", steps=steps, overrides=overrides(options)
    )


def overrides(options):
    return ["trainer.threads=1", *(f"{key}={value}" for key, value in options.items())]


def same(first, second):
    for name, value in first.task.model.state_dict().items():
        assert torch.equal(value, second.task.model.state_dict()[name]), name
    assert first.task.population.snapshots == second.task.population.snapshots
    assert first.task.population.payoffs.table == second.task.population.payoffs.table
    for name, agent in first.task.population.past.items():
        for key, value in agent.state_dict().items():
            assert torch.equal(value, second.task.population.past[name].state_dict()[key])
    for one, other in zip(first.task.learners, second.task.learners, strict=True):
        assert one.age == other.age
        if one.matches.state is not None:
            assert one.matches.match.candidates == other.matches.match.candidates
            assert torch.equal(one.matches.match.opponent, other.matches.match.opponent)
            assert one.matches.match.names == other.matches.match.names


# Steps of the first part: at the end of a rollout, and within one (each is used four times).
@pytest.mark.parametrize("first", [pytest.param(20, marks=pytest.mark.slow), 26])
def test_a_resumed_league_is_an_uninterrupted_one(tmp_path, first):
    options = {"estimator.epochs": 2, "estimator.minibatches": 2}
    whole = trained(tmp_path / "whole", league(), 40, **options)
    assert len(whole.task.population.past) > 3
    trained(tmp_path / "part", league(), first, **options)
    resumed = framework.train(league(), resume=tmp_path / "part", overrides=["trainer.steps=40"])
    same(whole, resumed)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["self_play", "fictitious", "regularised"])
def test_the_other_modes_too(tmp_path, mode):
    options = {"mode": mode, "reference_every": 2}
    whole = trained(tmp_path / "whole", league(**options), 16)
    trained(tmp_path / "part", league(**options), 9)
    resumed = framework.train(
        league(**options), resume=tmp_path / "part", overrides=["trainer.steps=16"]
    )
    same(whole, resumed)


@pytest.mark.slow
def test_a_league_with_a_memory_on_a_board_too(tmp_path):
    options = {"game": "tic_tac_toe", "memory": "gru", "memory_width": 8, "anchors": ["random"]}
    options |= {
        "evaluation_matches": 4,
        "teacher": "minimax_1",
        "cloning_matches": 8,
        "teacher_weight": 0.1,
    }
    whole = trained(tmp_path / "whole", league(League, **options), 16)
    trained(tmp_path / "part", league(League, **options), 9)
    resumed = framework.train(
        league(League, **options), resume=tmp_path / "part", overrides=["trainer.steps=16"]
    )
    same(whole, resumed)


def test_a_run_goes_on_in_its_own_mode_and_game_only():
    state = league(mode="self_play").state_dict()
    with pytest.raises(UserError, match="of kuhn in mode self_play; expected kuhn in mode fict"):
        league(mode="fictitious").load_state_dict(state)
    # Another matrix game may have agents of the same shape.
    with pytest.raises(UserError, match="of kuhn in mode self_play; expected matrix in mode self"):
        league(game="matrix", mode="self_play").load_state_dict(state)
    league(mode="self_play").load_state_dict(state)
