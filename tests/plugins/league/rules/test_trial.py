"""Rules that a user has written are held to the contract before anything is made of them."""

import re
from typing import Any

import numpy
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from framework import UserError
from plugins.league.rules.contract import Rules
from plugins.league.rules.making import make_rules, make_tried_rules
from plugins.league.rules.trial import Trial
from plugins.league.task import League


class Pennies(Rules):
    """Each shows a side of a penny, one after the other; the second wins where they differ."""

    longest = 2
    observation_space = Box(0, 1, (2,), numpy.float32)
    action_space = Discrete(2)

    def begin(self, count):
        return {name: torch.zeros(count, dtype=torch.long) for name in ("moves", "shown")}

    @property
    def to_move(self):
        return torch.stack([self.state["moves"] == 0, self.state["moves"] == 1])

    def observe(self, player):
        return torch.stack([self.state["moves"] == 0, player == 0], -1).float()

    def mask(self, player):
        return torch.ones(self.boards, 2, dtype=torch.bool)

    def play(self, actions, which):
        moves, shown = self.state["moves"], self.state["shown"]
        which = which & (moves < 2)
        now, ended = torch.where(moves == 0, actions[0], actions[1]), which & (moves == 1)
        self.state = {"moves": moves + which, "shown": torch.where(which, now, shown)}
        return torch.where(now == shown, 1.0, -1.0) * ended, ended


def changed(change):
    """`play`, and then something else of its answer."""
    return lambda self, actions, which: change(*Pennies.play(self, actions, which))


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "column": ({"play": changed(lambda gained, ended: (gained.unsqueeze(1), ended))}, "play gives a tensor [4, 1]"),
    "nothing": ({"play": changed(lambda gained, ended: None)}, "expected gains and ends, two tensors"),
    "nan": ({"play": changed(lambda gained, ended: (gained * torch.nan, ended))}, "expected finite numbers"),
    "elsewhere": ({"play": changed(lambda gained, ended: (gained + 1, ended))}, "not to be played"),
    "no end": ({"longest": 1}, "play gives a match that goes on after 1 moves"),
    "raises": ({"play": lambda self, actions, which: 1 / 0}, "its play raised ZeroDivisionError"),
    "no action": ({"mask": lambda self, player: torch.zeros(4, 2).bool()}, "mask gives no action"),
    "more actions": ({"mask": lambda self, player: torch.ones(4, 3).bool()}, "expected a tensor [4, 2] of torch.bool"),
    "numbers": ({"mask": lambda self, player: torch.ones(4, 2)}, "expected a tensor [4, 2] of torch.bool"),
    "seen": ({"observe": lambda self, player: torch.zeros(4, 3)}, "observe gives a tensor [4, 3]"),
    "seen nan": ({"observe": lambda self, player: torch.full((4, 2), torch.nan)}, "expected finite ones"),
    "nobody": ({"to_move": property(lambda self: torch.zeros(2, 4).bool())}, "and nobody elsewhere"),
    "turned": ({"to_move": property(lambda self: torch.ones(4, 2).bool())}, "expected a tensor [2, 4] of torch.bool"),
    "space": ({"action_space": Box(0, 1, (2,))}, "expected Discrete or MultiDiscrete"),
    "no space": ({"observation_space": None}, "expected a space of gymnasium's"),
    "longest": ({"longest": 0}, "its longest gives 0"),
}  # fmt: skip


def test_rules_that_keep_the_contract_are_learned():
    assert League(game=Pennies, boards=2, hidden=[2]).name == "Pennies"


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_in_one_line(fault):
    wrong, said = FAULTS[fault]
    with pytest.raises(UserError, match=re.escape(said)) as refused:
        make_tried_rules(type("Own", (Pennies,), wrong), {})
    assert str(refused.value).startswith("task.game = Own: its ")
    assert "\n" not in str(refused.value)


def test_what_is_not_written_is_named():
    with pytest.raises(UserError, match=r"task.game = Own: its begin, .*, to_move are not written"):
        make_tried_rules(type("Own", (Rules,), {}), {})


@pytest.mark.parametrize("game", ["kuhn", "leduc", "matrix", "tic_tac_toe", "connect_four"])
def test_our_own_rules_keep_the_contract(game):
    Trial(make_rules(game, 4)).run()
