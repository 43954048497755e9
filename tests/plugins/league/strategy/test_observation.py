"""What a player is shown: its own side up, what its units see, and nothing of what they do not see."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.league.rules.strategy.observation import PLANE
from tests.plugins.league.strategy.boards import crowded, played, players

SEEDS = st.integers(0, 2**31 - 1)


def seen_by(rules, player):
    """By the definition: within two rows and columns of a unit, `[N, S, S]`."""
    state, size = rules.state, rules.size
    seen = torch.zeros(rules.boards, size, size, dtype=torch.bool)
    for board in range(rules.boards):
        for kind, cell in zip(
            state["kind"][board, player], state["cell"][board, player], strict=True
        ):
            if kind:
                row, column = int(cell) // (size + 2) - 1, int(cell) % (size + 2) - 1
                top, left = max(0, row - rules.sight), max(0, column - rules.sight)
                seen[board, top : row + rules.sight + 1, left : column + rules.sight + 1] = True
    return seen


@settings(deadline=None, max_examples=8)
@given(SEEDS, st.sampled_from([8, 13, 16]), st.sampled_from([1, 2, 3, 16]))
def test_a_player_sees_what_is_near_its_units(seed, size, sight):
    rules = crowded(seed, 3, size=size, sight=sight, slots=5)
    for player in (0, 1):
        shown = rules.observe(players(rules, player))["map"][:, PLANE["seen"]] > 0
        seen = seen_by(rules, player)
        assert torch.equal(shown, seen.flip(1, 2) if player else seen)


@settings(deadline=None, max_examples=8)
@given(SEEDS, st.sampled_from([0, 1]))
def test_boards_that_differ_only_in_what_a_player_does_not_see_look_the_same(seed, player):
    rules = crowded(seed, 6, slots=4)
    other = crowded(seed + 1, 6, slots=4)
    hidden = ~seen_by(rules, player)
    geometry = rules.geometry
    flat = torch.nn.functional.pad(hidden, (1, 1, 1, 1), value=True).flatten(1)
    altered = {name: value.clone() for name, value in rules.state.items()}
    rival = 1 - player
    altered["stock"][:, rival] += 3
    altered["ore"] = torch.where(flat, other.state["ore"], altered["ore"])
    cells = altered["cell"][:, rival]
    unseen = flat.gather(1, cells)
    assert unseen.any()
    # Units that are not seen become others, or are gone.
    kind = torch.where(unseen, other.state["kind"][:, rival], altered["kind"][:, rival])
    altered["kind"][:, rival] = kind
    altered["cell"][:, rival] = torch.where(kind > 0, cells, geometry.nowhere)
    for name in ("health", "rest", "carried"):
        own = altered[name][:, rival]
        altered[name][:, rival] = torch.where(unseen, other.state[name][:, rival], own)
    assert not torch.equal(altered["kind"], rules.state["kind"])
    twin = rules.select(torch.arange(rules.boards))
    twin.state = altered
    view = players(rules, player)
    one, two = rules.observe(view), twin.observe(view)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(rules.mask(view), twin.mask(view))


def test_the_planes_say_what_stands_where():
    rules = played(2, 1)
    state, size = rules.state, rules.size
    for player in (0, 1):
        shown = rules.observe(players(rules, player))
        board = shown["map"][0]
        kinds = state["kind"][0, player].tolist()
        assert kinds[:4] == [1, 3, 3, 0]
        cells = shown["cells"][0].tolist()
        assert [cell for cell in cells if cell < size**2] == cells[:3]
        assert board[PLANE["own base"]].flatten().nonzero().flatten().tolist() == [cells[0]]
        assert board[PLANE["own worker"]].flatten().nonzero().flatten().tolist() == sorted(
            cells[1:3]
        )
        assert board[PLANE["health"]].flatten()[cells[0]] == 16 * 15
        assert board[PLANE["stock"]].unique().tolist() == [5 * 8]
        assert board[PLANE["time"]].unique().tolist() == [0]
        assert set(board[PLANE["ore"]].unique().tolist()) == {0, 12 * 20}
    rules.observe(players(rules, 0))["map"].zero_()
    assert rules.observe(players(rules, 0))["map"].any()
