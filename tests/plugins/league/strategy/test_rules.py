"""The strategy game's rules: as a slow reference plays them, the same for both sides, and nothing is lost."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.league.rules.strategy.game import Strategy
from tests.plugins.league.strategy.boards import (
    any_legal,
    as_reference,
    crowded,
    everywhere,
    played,
    players,
    reflected,
)

SEEDS = st.integers(0, 2**31 - 1)
KINDS_OF_START = st.sampled_from(["crowded", "played"])


def boards_of(seed, start, size=8, boards=4):
    return (
        crowded(seed, boards, size=size)
        if start == "crowded"
        else played(seed, boards, 40, size=size)
    )


def same(one: Strategy, other: Strategy) -> None:
    for name, value in one.state.items():
        assert torch.equal(value, other.state[name]), name


@settings(deadline=None, max_examples=8)
@given(SEEDS, KINDS_OF_START, st.sampled_from([8, 11]))
def test_masks_and_steps_are_those_of_the_slow_reference(seed, start, size):
    rules = boards_of(seed, start, size)
    for _ in range(3):
        references = [as_reference(rules, board) for board in range(rules.boards)]
        running = ~rules.state["over"]
        masks = torch.stack([rules.mask(players(rules, p)) for p in (0, 1)])
        masks = masks.view(2, rules.boards, rules.slots, 13)
        for number, board in enumerate(references):
            if running[number]:
                expected = [[board.legal(p, k) for k in range(rules.slots)] for p in (0, 1)]
                assert masks[:, number].tolist() == expected
        actions = any_legal(rules)
        rules.play(actions, everywhere(rules))
        for number, board in enumerate(references):
            if running[number]:
                board.step(actions[:, number].tolist())
                expected_board = as_reference(rules, number)
                assert board.units == expected_board.units
                assert board.stock == expected_board.stock
                assert {c: a for c, a in board.ore.items() if a} == expected_board.ore


@settings(deadline=None, max_examples=8)
@given(SEEDS, KINDS_OF_START)
def test_the_whole_game_plays_mirrored(seed, start):
    rules = boards_of(seed, start)
    mirror = reflected(rules)
    for _ in range(5):
        for player in (0, 1):
            here, there = players(rules, player), players(rules, 1 - player)
            assert torch.equal(rules.mask(here), mirror.mask(there))
            seen, seen_there = rules.observe(here), mirror.observe(there)
            assert all(torch.equal(seen[name], seen_there[name]) for name in seen)
        assert torch.equal(rules.progress(), -mirror.progress())
        actions = any_legal(rules)
        payoff, ended = rules.play(actions, everywhere(rules))
        mirrored_payoff, mirrored_ended = mirror.play(actions.flip(0), everywhere(rules))
        assert torch.equal(payoff, -mirrored_payoff)
        assert torch.equal(ended, mirrored_ended)
        same(reflected(rules), mirror)


def test_a_match_begins_the_same_for_both_sides():
    rules = played(0, 64)
    same(rules, reflected(rules))
    # Both see their own base at the upper edge.
    for player in (0, 1):
        own_base = rules.observe(players(rules, player))["map"][:, 0]
        assert own_base[:, :4].flatten(1).count_nonzero(1).tolist() == [1] * 64


@settings(deadline=None, max_examples=8)
@given(SEEDS, KINDS_OF_START)
def test_ore_is_gathered_carried_spent_or_lost_with_who_carried_it(seed, start):
    rules = boards_of(seed, start)
    for _ in range(5):
        before = rules.state
        references = [as_reference(rules, board) for board in range(rules.boards)]
        actions = any_legal(rules)
        rules.play(actions, everywhere(rules))
        for board in references:
            board.lost = board.spent = 0
        for number, board in enumerate(references):
            if not before["over"][number]:
                board.step(actions[:, number].tolist())
        gone = torch.tensor([board.lost + board.spent for board in references])
        assert torch.equal(ore_of(before) - gone, ore_of(rules.state))


def ore_of(state):
    return state["ore"].sum(1) + state["stock"].sum(1) + state["carried"].flatten(1).sum(1)


@settings(deadline=None, max_examples=8)
@given(SEEDS, KINDS_OF_START)
def test_an_illegal_action_does_nothing(seed, start):
    rules = boards_of(seed, start)
    legal = torch.stack([rules.mask(players(rules, p)) for p in (0, 1)])
    legal = legal.view(2, rules.boards, rules.slots, 13)
    chosen = torch.randint(0, 13, (2, rules.boards, rules.slots))
    allowed = legal.gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
    other = rules.select(torch.arange(rules.boards))
    rules.play(chosen, everywhere(rules))
    other.play(chosen * allowed, everywhere(rules))
    same(rules, other)


@settings(deadline=None, max_examples=4)
@given(SEEDS)
def test_boards_that_are_not_played_or_have_ended_stay_as_they_are(seed):
    rules = played(seed, 6, 10, longest=12)
    which = torch.tensor([True, False] * 3)
    before = {name: value.clone() for name, value in rules.state.items()}
    _, ended = rules.play(any_legal(rules), which)
    assert not ended.any()
    for name, value in rules.state.items():
        assert torch.equal(value[~which], before[name][~which]), name
    assert rules.state["clock"].tolist() == [11, 10] * 3
    _, ended = rules.play(any_legal(rules), everywhere(rules))
    assert ended.tolist() == which.tolist()
    before = {name: value.clone() for name, value in rules.state.items()}
    payoff, ended = rules.play(any_legal(rules), which)
    assert payoff.tolist() == [0] * 6
    assert not ended.any()
    for name, value in rules.state.items():
        assert torch.equal(value, before[name]), name
    assert rules.to_move.tolist() == [[False, True] * 3] * 2


def test_who_loses_the_base_loses_and_a_match_ends_by_material_at_the_last_step():
    rules = crowded(1, 4, longest=100)
    state = rules.state
    # Nothing but the bases, and beside them what destroys them with one blow.
    state["kind"][:, :, 2:] = 0
    state["cell"][:, :, 2:] = rules.geometry.nowhere
    state["rest"][:] = state["health"][:, :, 2:] = 0
    state["kind"][:, :, 1] = 4
    state["carried"][:] = state["stock"][:] = 0
    state["ore"].zero_()
    state["health"][:, :, 0], state["health"][:, :, 1] = 2, 4
    geometry = rules.geometry
    state["cell"][:, 0, 0] = geometry.cell(torch.tensor(1), torch.tensor(1))
    state["cell"][:, 1, 1] = geometry.cell(torch.tensor(1), torch.tensor(2))
    state["cell"][:, 1, 0] = geometry.cell(torch.tensor(5), torch.tensor(5))
    state["cell"][:, 0, 1] = geometry.cell(torch.tensor(5), torch.tensor(4))
    rules.state = dict(state)
    # Both bases, player 1's, player 0's, none. Player 1's left is the board's right.
    actions = torch.zeros(2, 4, rules.slots, dtype=torch.long)
    actions[0, :, 1] = torch.tensor([2, 2, 0, 0])
    actions[1, :, 1] = torch.tensor([2, 0, 2, 0])
    payoff, ended = rules.play(actions, everywhere(rules))
    assert payoff.tolist() == [0, 1, -1, 0]
    assert ended.tolist() == [True, True, True, False]
    last = rules.select(torch.tensor([3, 3, 3]))
    last.state = {**last.state, "clock": torch.tensor([99, 99, 99]).int()}
    last.state["stock"][:] = torch.tensor([[0, 0], [1, 0], [0, 1]])
    payoff, ended = last.play(torch.zeros(2, 3, rules.slots, dtype=torch.long), everywhere(last))
    assert payoff.tolist() == [0, 1, -1]
    assert ended.all()


def test_the_same_seed_gives_the_same_match_and_a_saved_one_goes_on_with_the_same_bits():
    one, other = played(5, 6, 30), played(5, 6, 30)
    same(one, other)
    saved = {name: value.clone() for name, value in one.state_dict().items()}
    resumed = Strategy(6)
    resumed.load_state_dict(saved)
    for rules in (one, resumed):
        torch.manual_seed(7)
        for _ in range(20):
            rules.play(any_legal(rules), everywhere(rules))
            rules.restart(rules.state["over"])
    same(one, resumed)


@pytest.mark.parametrize("size", [8, 16])
def test_no_two_units_ever_share_a_cell_and_every_match_ends(size):
    rules = played(3, 16, 0, size=size, longest=80)
    for _ in range(80):
        assert rules.to_move.all(0).tolist() == (~rules.state["over"]).tolist()
        rules.play(any_legal(rules), everywhere(rules))
        state = rules.state
        there = state["kind"] > 0
        assert torch.equal(there, state["health"] > 0)
        nowhere = rules.geometry.nowhere
        assert torch.equal(there, state["cell"] != nowhere)
        assert not rules.geometry.wall[state["cell"][there]].any()
        cells = state["cell"].flatten(1).sort(1).values
        twice = (cells[:, 1:] == cells[:, :-1]) & (cells[:, 1:] != nowhere)
        assert not twice.any()
        assert not state["ore"].gather(1, state["cell"].flatten(1)).any()
    assert state["over"].all()
