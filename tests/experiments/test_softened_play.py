"""Fictitious play with exact softened responses."""

import pytest

from experiments.softened_play import played, softened_response
from plugins.league.measures.game_tree import GameTree
from plugins.league.rules.making import make_rules

KUHN = GameTree(make_rules("kuhn", 1, "cpu", {}))


def test_a_response_of_no_temperature_is_a_best_response():
    table = KUHN.uniform()
    gained = KUHN.value(softened_response(KUHN, table, 0, 1e-4), table)
    assert float(gained) == pytest.approx(float(KUHN.best_response(table, 0)[0]), abs=1e-5)


def test_a_hot_response_is_nearly_uniform():
    response = softened_response(KUHN, KUHN.best_response(KUHN.uniform(), 0)[1], 1, 1e4)
    mine = KUHN.player == 1
    assert float((response - KUHN.uniform())[mine].abs().max()) < 1e-3


def test_the_average_nears_the_equilibrium():
    found = played(KUHN, 0.05, 50, True)
    assert list(found) == [5, 10, 20, 30, 50]
    assert found[50] < 0.07 < found[5]
