"""A policy as bars: every row adds up to one, and says what was seen there and how often."""

import pytest
import torch

from framework import Image
from plugins.league.measures.game_tree import GameTree
from plugins.league.measures.policy_figure import MOST_ROWS, policy_figure
from plugins.league.rules.kuhn import Kuhn
from plugins.league.rules.leduc import Leduc


def rows_of(axes):
    """The bars' summed widths by row."""
    widths = torch.zeros(len(axes.get_yticks()))
    for bar in axes.patches:
        widths[round(bar.get_y() + bar.get_height() / 2)] += bar.get_width()
    return widths


@pytest.mark.parametrize(("rules", "rows"), [(Kuhn, 12), (Leduc, MOST_ROWS)])
def test_each_row_is_a_distribution_over_the_actions(rules, rows):
    tree = GameTree(rules(1))
    axes = policy_figure(tree, tree.uniform(), "uniform").axes[0]
    assert torch.allclose(rows_of(axes), torch.ones(rows), atol=1e-6)


def test_the_first_players_information_sets_come_first_and_are_said_in_words():
    tree = GameTree(Kuhn(1))
    figure = policy_figure(tree, tree.uniform(), "uniform")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert [label.split(":")[0] for label in labels] == ["first player"] * 6 + ["second player"] * 6
    assert "first player: Your card: K (of J < Q < K). So far: pass, bet." in labels
    assert Image.from_figure("policy", figure).pixels.shape[2] == 3
    # A third of the matches begin with each card.
    assert [text.get_text() for text in figure.axes[0].texts[:3]] == ["0.333"] * 3


def test_a_game_without_words_has_its_information_sets_numbered(monkeypatch):
    def speechless(*_):
        raise NotImplementedError

    monkeypatch.setattr(Kuhn, "words", speechless)
    tree = GameTree(Kuhn(1))
    figure = policy_figure(tree, tree.uniform(), "uniform")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[0] == f"first player: information set {int(tree.player.eq(0).nonzero()[0])}"
