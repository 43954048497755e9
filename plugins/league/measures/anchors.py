"""How a player does against fixed ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from framework.randomness import key
from plugins.league.arena import Arena, scores
from plugins.league.opponents import Opponent


def against_anchors(
    player: Opponent, anchors: Mapping[str, Opponent], arena: Arena, seed: int
) -> dict[str, float]:
    """Scores of a player against each anchor, from either side as often; nothing where there are no anchors."""
    metrics: dict[str, float] = {}
    found = []
    for name, anchor in anchors.items():
        won = arena.duel(player, anchor, key(seed, name) % 2**31)
        points = scores(won)
        metrics[f"score/{name}"] = float(points.mean())
        metrics[f"wins/{name}"] = float((won > 0).float().mean())
        found.append(points)
    if not found:
        return {}
    variance = sum(float(points.var()) / len(points) for points in found) / len(found) ** 2
    return {
        "anchor_score": float(torch.stack(found).mean()),
        "anchor_score_standard_error": variance**0.5,
        **metrics,
    }
