"""A film of a match, with the players' names where the rules draw none."""

from __future__ import annotations

from framework.media import PackedFrames
from plugins.league.arena import duel
from plugins.league.opponents import Opponent
from plugins.league.rules.contract import Rules


def film(
    rules: Rules,
    first: Opponent,
    second: Opponent,
    seed: int,
    *,
    memory: tuple[int, int] | None = None,
    frames: int = 500,
) -> PackedFrames:
    """Frames `[H, W, 3]` of one match, `rules` of one board; none where the game cannot be drawn."""
    shown = PackedFrames()

    def watch(boards: Rules) -> None:
        if len(shown) < frames:
            shown.append(boards.picture(0))

    try:
        duel(rules, first, second, seed, memory=memory, watch=watch)
    except NotImplementedError:
        return PackedFrames()
    # The last position stays for a while.
    for _ in range(3 if len(shown) else 0):
        shown.append(shown[len(shown) - 1])
    return shown
