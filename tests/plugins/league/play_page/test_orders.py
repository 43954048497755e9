"""Standing orders: units go by legal steps until they are there, gather and come home, and make what is paid for."""

import pytest
import torch

from framework import UserError
from plugins.league.opponents import Move, Opponent
from plugins.league.play_page.orders import Order
from plugins.league.play_page.server import Table
from plugins.league.rules.strategy.game import Strategy
from plugins.league.rules.strategy.units import BARRACKS, LIGHT, WORKER


class Waits(Opponent):
    """A player that does nothing."""

    def act(self, view):
        return Move(torch.zeros(len(view.boards), *view.rules.action_shape, dtype=torch.long))


@pytest.fixture(params=[0, 1])
def table(request):
    """A match in which the person is either side."""
    found = Table(Strategy(1), Waits())
    found.begin(request.param)
    return found


def workers(table):
    seen = table.seen()
    return [slot for slot in range(table.rules.slots) if seen.kind(slot) == WORKER]


def test_workers_gather_and_bring_it_home(table):
    ore = next(cell for cell, amount in enumerate(table.shown()["ore"]) if amount)
    for slot in workers(table):
        table.order(slot, Order("gather", ore))
    for _ in range(40):
        table.step()
    assert int(table.rules.state["stock"][0, table.side]) >= 9
    assert int(table.rules.state["stock"][0, 1 - table.side]) == 5


def test_barracks_are_built_once_and_make_fighters_that_destroy_the_base(table):
    first, second = workers(table)
    ore = next(cell for cell, amount in enumerate(table.shown()["ore"]) if amount)
    table.order(first, Order("make", product=BARRACKS))
    table.order(second, Order("gather", ore))
    table.step()
    kinds = table.rules.state["kind"][0, table.side].tolist()
    assert kinds.count(BARRACKS) == 1
    assert first not in table.orders
    table.order(first, Order("gather", ore))
    table.order(kinds.index(BARRACKS), Order("make", product=LIGHT))
    opposite = table.rules.size**2 - 1 - int(table.seen().cells[0])
    while not table.over:
        seen = table.seen()
        for slot in range(table.rules.slots):
            if seen.kind(slot) == LIGHT:
                table.order(slot, Order("go", opposite))
        table.step()
    assert table.payoff == 1
    assert table.moves < 80


def test_a_unit_stops_where_it_was_sent(table):
    slot = workers(table)[0]
    middle = 8 * 3 + 3
    table.order(slot, Order("go", middle))
    for _ in range(12):
        table.step()
    assert int(table.seen().cells[slot]) == middle


@pytest.mark.parametrize(
    ("slot", "order", "said"),
    [
        (7, Order("go", 3), "order.slot = 7: no unit of yours is there"),
        (63, Order("go", 3), "order.slot = 63: no unit of yours is there"),
        (0, Order("go", 3), "order.task = 'go': a base stays where it is"),
        (0, Order("make", product=LIGHT), "order.product: a base makes worker"),
        (1, Order("make", product=LIGHT), "order.product: a worker makes barracks"),
        (1, Order("make"), "order.product: a worker makes barracks"),
    ],
)
def test_what_a_unit_cannot_do_is_refused_in_one_line(slot, order, said):
    table = Table(Strategy(1), Waits())
    with pytest.raises(UserError) as refused:
        table.order(slot, order)
    assert str(refused.value) == said
