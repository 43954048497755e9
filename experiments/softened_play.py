"""Fictitious play with exact softened responses: what the fictitious mode could reach if it learned perfectly.

    python -m experiments.softened_play GAME TEMPERATURE [rounds=300] [weights=linear|equal]

GAME: kuhn, leduc or matrix. In each round both players answer the other's average of all rounds before by the softmax
of their actions' values over TEMPERATURE (stochastic fictitious play, Fudenberg and Levine 1998). Prints the NashConv
of the average after some of the rounds.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from experiments.command import given_arguments
from plugins.league.measures.game_tree import GameTree
from plugins.league.rules.making import make_rules

SHOWN = (5, 10, 20, 30, 50, 70, 100, 150, 200, 300, 400, 600, 1000)


def softened_response(tree: GameTree, table: Tensor, player: int, temperature: float) -> Tensor:
    """A player's rows of `[I, A]`: softmax of the values of actions, later ones chosen alike."""
    sign = 1.0 if player == 0 else -1.0
    reaches, chance, weights = tree.reaches(table), tree.chance, []
    for number, layer in enumerate(tree.layers):
        chance = chance if number == 0 else chance[layer.parent]
        weights.append(chance * reaches[number][1 - player])
    response, below = table.clone(), torch.zeros(0)
    for layer, weight in zip(reversed(tree.layers), reversed(weights), strict=True):
        gains = sign * tree.action_values(layer, sign * below)
        sums = torch.zeros(tree.mask.shape).index_add(
            0, layer.information, weight.unsqueeze(1) * gains
        )
        total = torch.zeros(tree.count).index_add(0, layer.information, weight)
        values = sums / total.clamp(min=1e-12).unsqueeze(1)
        soft = (values / temperature).masked_fill(~tree.mask, -torch.inf).softmax(1)
        rows = layer.information[layer.player == player]
        response[rows] = soft[rows]
        below = (response[layer.information] * gains).sum(1)
    return response


def played(tree: GameTree, temperature: float, rounds: int, linear: bool) -> dict[int, float]:
    """NashConv of the average by the number of rounds."""
    response, found = tree.uniform(), {}
    mixed, total = torch.zeros(tree.mask.shape), torch.zeros(tree.count, 1)
    for number in range(1, rounds + 1):
        own = (number if linear else 1) * tree.own_reach(response).unsqueeze(1)
        mixed, total = mixed + own * response, total + own
        average = torch.where(total > 0, mixed / total.clamp(min=1e-30), tree.uniform())
        if number in SHOWN or number == rounds:
            found[number] = tree.nash_conv(average)
        first, second = (softened_response(tree, average, side, temperature) for side in (0, 1))
        response = tree.joined(first, second)
    return found


def main() -> None:
    given = given_arguments(__doc__)
    settings = dict(part.split("=", 1) for part in given if "=" in part)
    words = [part for part in given if "=" not in part]
    weights = settings.pop("weights", "linear")
    rounds = int(settings.pop("rounds", "300"))
    if len(words) != 2 or settings or weights not in ("linear", "equal"):
        sys.exit("expected GAME TEMPERATURE [rounds=300] [weights=linear|equal]")
    tree = GameTree(make_rules(words[0], 1, "cpu", {}))
    for number, value in played(tree, float(words[1]), rounds, weights == "linear").items():
        print(f"{number:6} {value:.3f}")


if __name__ == "__main__":
    main()
