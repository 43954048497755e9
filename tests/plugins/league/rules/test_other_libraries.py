"""Games that OpenSpiel and PettingZoo play: moves and payoffs as by our own rules, learned, or refused in one line.

Skipped where the library is not installed.
"""

import importlib.util
import types

import pytest
import torch

import framework
from framework import UserError
from framework.batch import leaves
from plugins.league.arena import duel, scores
from plugins.league.measures.game_tree import GameTree
from plugins.league.opponents import RandomPlayer
from plugins.league.players.naming import named_player
from plugins.league.players.tree_search import TreeSearch
from plugins.league.rules.connect_four import ConnectFour
from plugins.league.rules.kuhn import Kuhn
from plugins.league.rules.making import make_rules
from plugins.league.rules.pettingzoo import PettingZoo
from plugins.league.rules.tic_tac_toe import TicTacToe
from plugins.league.task import League

openspiel = pytest.mark.skipif(
    importlib.util.find_spec("pyspiel") is None, reason="OpenSpiel is not installed"
)
pettingzoo = pytest.mark.skipif(
    importlib.util.find_spec("pettingzoo") is None, reason="PettingZoo is not installed"
)
BOARDS = 6


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(TicTacToe, "openspiel:tic_tac_toe", marks=openspiel),
        pytest.param(ConnectFour, "openspiel:connect_four", marks=openspiel),
        pytest.param(ConnectFour, "pettingzoo:connect_four_v3", marks=pettingzoo),
    ],
)
def test_the_same_actions_have_the_same_results_as_our_own_rules(kind, name):
    torch.manual_seed(3)
    own, other = kind(BOARDS), make_rules(name, BOARDS)
    own.restart()
    other.restart()
    ended = torch.zeros(BOARDS, dtype=torch.long)
    for _ in range(60):
        assert torch.equal(own.to_move, other.to_move)
        player = own.to_move[1].long()
        assert torch.equal(own.mask(player), other.mask(player))
        if name.startswith("pettingzoo"):
            # Its planes are the last axis.
            seen = other.observe(player)
            assert isinstance(seen, torch.Tensor)
            assert torch.equal(own.observe(player), seen.movedim(-1, 1))
        actions = torch.rand(BOARDS, own.choices).masked_fill(~own.mask(player), -1).argmax(1)
        which = torch.rand(BOARDS) < 0.8
        for left, right in zip(
            own.play(actions.expand(2, -1), which),
            other.play(actions.expand(2, -1), which),
            strict=True,
        ):
            assert torch.equal(left, right)
        over = ~own.to_move.any(0)
        ended += over
        own.restart(over)
        other.restart(over)
    assert (ended > 0).all()


@openspiel
def test_openspiels_kuhn_poker_is_judged_as_ours():
    theirs, ours = GameTree(make_rules("openspiel:kuhn_poker", 1)), GameTree(Kuhn(1))
    assert theirs.count == ours.count == 12
    assert theirs.nash_conv(theirs.uniform()) == pytest.approx(0.916667, abs=1e-5)


@openspiel
def test_searches_play_openspiels_games():
    torch.manual_seed(0)
    won = duel(make_rules("openspiel:tic_tac_toe", 12), TreeSearch(12), RandomPlayer(), 1)
    assert scores(won).mean() > 0.5
    with pytest.raises(UserError, match="which OpenSpiel's players do not see"):
        named_player("minimax_2", make_rules("openspiel:kuhn_poker", 1), "task.anchors")


@openspiel
def test_a_match_that_is_too_long_for_its_tensors_ends_as_it_stands():
    rules = make_rules("openspiel:tic_tac_toe", 2)
    rules.longest = 3
    rules.restart()
    for move in range(3):
        actions = torch.full((2, 2), move)
        gained, ended = rules.play(actions, torch.ones(2, dtype=torch.bool))
        assert ended.tolist() == 2 * [move == 2]
    assert gained.tolist() == [0, 0]
    assert not rules.to_move.any()


@openspiel
def test_both_players_decide_at_once_where_openspiel_says_so():
    rules = make_rules("openspiel:matrix_rps", 9)
    rules.restart()
    assert rules.to_move.all()
    first, second = torch.arange(9) // 3, torch.arange(9) % 3
    gained, ended = rules.play(torch.stack([first, second]), torch.ones(9, dtype=torch.bool))
    assert ended.all()
    # Paper beats rock, scissors beat paper, rock beats scissors.
    assert gained.tolist() == [0, -1, 1, 1, 0, -1, -1, 1, 0]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("openspiel:leduc_poker", marks=openspiel),
        pytest.param("pettingzoo:tictactoe_v3", marks=pettingzoo),
    ],
)
def test_a_copy_and_a_saved_state_go_on_as_the_boards_themselves(name):
    torch.manual_seed(1)
    rules = make_rules(name, 4)
    rules.restart()
    everywhere = torch.ones(4, dtype=torch.bool)

    def step(boards, seed):
        torch.manual_seed(seed)
        player = boards.to_move[1].long()
        mask = boards.mask(player)
        action = torch.rand(mask.shape).masked_fill(~mask, -1).argmax(1)
        return boards.play(action.expand(2, -1), everywhere)

    step(rules, 1)
    copy, saved = rules.select(torch.arange(4)), make_rules(name, 4)
    saved.load_state_dict(rules.state_dict())
    for seed in range(2, 5):
        found = [step(boards, seed) for boards in (rules, copy, saved)]
        player = rules.to_move[1].long()
        for (payoffs, ended), boards in zip(found[1:], (copy, saved), strict=True):
            assert torch.equal(payoffs, found[0][0])
            assert torch.equal(ended, found[0][1])
            assert torch.equal(boards.state["history"], rules.state["history"])
            for left, right in zip(
                leaves(boards.observe(player)), leaves(rules.observe(player)), strict=True
            ):
                assert torch.equal(left, right)


@pytest.mark.parametrize(
    "game",
    [
        pytest.param("openspiel:tic_tac_toe", marks=openspiel),
        pytest.param("openspiel:kuhn_poker", marks=openspiel),
        pytest.param("pettingzoo:tictactoe_v3", marks=pettingzoo),
    ],
)
def test_it_is_learned(game, tmp_path):
    run = framework.train(
        "connect_four",
        steps=9,
        folder=tmp_path / "run",
        overrides=[
            f"task.game={game}",
            "task.boards=4",
            "task.rollout_steps=3",
            "task.hidden=[8]",
            "task.anchors=[random]",
            "task.teacher=null",
            "task.teacher_weight=0",
            "trainer.threads=1",
            "task.evaluation_matches=4",
            "task.tournament_matches=0",
        ],
    )
    assert 0 <= run.metrics["score/random"] <= 1
    assert isinstance(run.task, League)
    assert run.task.log.scalars["train/game_steps"] > 0


@pytest.mark.parametrize(
    ("game", "options", "said"),
    [
        pytest.param("openspiel:tic_tac_to", {}, "did you mean 'tic_tac_toe'", marks=openspiel),
        pytest.param("openspiel:connect_four", {"row": 5}, "did you mean 'rows'", marks=openspiel),
        pytest.param(
            "openspiel:connect_four", {"rows": "5"}, "expected one of type int", marks=openspiel
        ),
        pytest.param(
            "openspiel:kuhn_poker", {"players": 3}, "of two players, not of 3", marks=openspiel
        ),
        pytest.param("openspiel:tiny_hanabi", {}, "payoffs are identical", marks=openspiel),
        pytest.param("openspiel:bargaining", {}, "expected a zero-sum game", marks=openspiel),
        pytest.param(
            "openspiel:mfg_crowd_modelling", {}, "expected a game of two players", marks=openspiel
        ),
        pytest.param(
            "pettingzoo:connect_for_v3", {}, "did you mean 'connect_four_v3'", marks=pettingzoo
        ),
        pytest.param("pettingzoo:tictactoe_v3", {"size": 4}, "no such option", marks=pettingzoo),
        ("opensteel:chess", {}, "did you mean 'openspiel'"),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_line(game, options, said):
    with pytest.raises(UserError, match=said) as refused:
        make_rules(game, 1, options=options)
    assert "\n" not in str(refused.value)


@pettingzoo
def test_payoffs_that_do_not_add_up_to_nothing_are_refused():
    rules = make_rules("pettingzoo:tictactoe_v3", 1)
    assert isinstance(rules, PettingZoo)
    match = rules.new()
    game = match.environment.unwrapped
    step = game.step

    def generous(action):
        step(action)
        game.rewards = {agent: 1.0 for agent in game.possible_agents}

    game.step = generous
    with pytest.raises(
        UserError, match="expected a zero-sum game, not one that pays 1 and 1 at once"
    ):
        match.act((0, 0))


@pytest.mark.parametrize(
    ("game", "said"),
    [
        pytest.param("openspiel:nfg_game", "OpenSpiel refuses it: IndexError", marks=openspiel),
        pytest.param(
            "pettingzoo:broken_v0", "PettingZoo refuses it: OSError: no disk", marks=pettingzoo
        ),
    ],
)
def test_what_a_library_says_when_it_cannot_make_a_game_is_one_line(game, said, monkeypatch):
    if game.startswith("pettingzoo"):
        broken = types.SimpleNamespace(env=lambda: exec("raise OSError('no disk\\nat all')"))
        monkeypatch.setattr("plugins.league.rules.pettingzoo.found", lambda *_: broken)
    with pytest.raises(UserError, match=said) as refused:
        make_rules(game, 1)
    assert "\n" not in str(refused.value)


@pettingzoo
def test_an_observation_that_is_one_of_several_values_is_read_as_such():
    rules = make_rules("pettingzoo:rps_v2", 3)
    rules.restart()
    seen = rules.observe(torch.zeros(3, dtype=torch.long))
    assert isinstance(seen, torch.Tensor)
    assert seen.shape == (3,)
    assert rules.observation_space.contains(seen[0].numpy())


@openspiel
def test_an_interrupted_league_of_openspiels_game_ends_as_an_uninterrupted_one(tmp_path):
    options = [
        *("task.game=openspiel:leduc_poker", "task.boards=8", "task.rollout_steps=3"),
        *("task.hidden=[8]", "task.anchors=[random]", "task.evaluation_matches=4"),
        *("task.tournament_matches=0", "task.teacher=null", "task.teacher_weight=0"),
        *("trainer.threads=1", "trainer.evaluate_every=100", "scheduler=constant"),
    ]
    whole = framework.train("connect_four", steps=20, folder=tmp_path / "whole", overrides=options)
    part = framework.train("connect_four", steps=11, folder=tmp_path / "part", overrides=options)
    assert part.folder is not None
    ended = framework.train(resume=part.folder, overrides=["trainer.steps=20"])
    assert isinstance(whole.task, League)
    assert isinstance(ended.task, League)
    pairs = zip(whole.task.model.parameters(), ended.task.model.parameters(), strict=True)
    assert all(torch.equal(left, right) for left, right in pairs)
    assert whole.task.population.payoffs.table == ended.task.population.payoffs.table
