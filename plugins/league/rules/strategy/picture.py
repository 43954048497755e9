"""A board as a person would like to see it: who stands where, how well, with what, and what each side sees.

Blue is player 0, below its own line of figures, orange player 1. Cells that only one side sees have a tint of its
colour, those that nobody sees are dark.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy
from PIL import Image, ImageDraw

from plugins.games.environments.games import Frame
from plugins.league.rules.strategy.sight import seen_cells
from plugins.league.rules.strategy.units import BARRACKS, BASE, HEAVY, KINDS, LIGHT, WORKER

if TYPE_CHECKING:
    from plugins.league.rules.strategy.game import Strategy

# Pixels of a cell, and of the lines above and below the board. Even numbers of pixels, as videos want them.
CELL, ABOVE, BELOW = 56, 52, 36
Colour = tuple[int, int, int]
Point = tuple[float, float]
NAMES = ("Blue", "Orange")
SIDES: tuple[Colour, Colour] = ((45, 105, 205), (225, 115, 20))
TINTS: tuple[Colour, Colour] = ((186, 202, 226), (232, 208, 182))
SEEN_BY_BOTH: Colour = (222, 220, 212)
FOG: Colour = (112, 114, 120)
INK: Colour = (28, 30, 36)
PAPER: Colour = (246, 245, 240)
GOLD: Colour = (214, 166, 20)
GOOD, WORN, BAD = (50, 160, 70), (215, 170, 30), (205, 50, 40)


def picture(rules: Strategy, board: int) -> Frame:
    """One board of a match, `[H, W, 3]`."""
    size = rules.size
    image = Image.new("RGB", (size * CELL, ABOVE + size * CELL + BELOW), PAPER)
    pen = ImageDraw.Draw(image)
    state = {name: value[board].tolist() for name, value in rules.state.items()}
    ground(pen, rules, board, state["ore"])
    width = size + 2
    for player in (0, 1):
        for slot, kind in enumerate(state["kind"][player]):
            if kind:
                row, column = divmod(state["cell"][player][slot], width)
                corner = ((column - 1) * CELL, ABOVE + (row - 1) * CELL)
                unit(pen, corner, kind, player)
                marks(
                    pen,
                    corner,
                    state["health"][player][slot] / KINDS[kind].health,
                    state["rest"][player][slot],
                    state["carried"][player][slot],
                )
    figures(pen, rules, board)
    legend(pen, size)
    return numpy.asarray(image)


def ground(pen: ImageDraw.ImageDraw, rules: Strategy, board: int, ore: list[int]) -> None:
    """The cells, by who sees them, and the ore."""
    size = rules.size
    seen = seen_cells(rules.geometry, rules.seen[board]).tolist()
    for row in range(size):
        for column in range(size):
            first, second = seen[0][row][column], seen[1][row][column]
            colour = FOG
            if first or second:
                colour = SEEN_BY_BOTH if first and second else TINTS[0 if first else 1]
            left, top = column * CELL, ABOVE + row * CELL
            pen.rectangle((left, top, left + CELL - 1, top + CELL - 1), colour)
            pen.rectangle((left, top, left + CELL - 1, top + CELL - 1), outline=(150, 150, 148))
            amount = ore[(row + 1) * (size + 2) + column + 1]
            if amount:
                crystals(pen, (left, top), amount)


def crystals(pen: ImageDraw.ImageDraw, corner: Point, amount: int) -> None:
    """A heap of ore and how much it is."""
    for across, down, high in ((0.3, 0.74, 0.3), (0.52, 0.74, 0.52), (0.74, 0.74, 0.36)):
        x, y = corner[0] + across * CELL, corner[1] + down * CELL
        w, h = 0.12 * CELL, high * CELL
        shape = [(x - w, y), (x - w, y - 0.6 * h), (x, y - h), (x + w, y - 0.6 * h), (x + w, y)]
        pen.polygon(shape, GOLD, outline=(120, 90, 0))
    text(pen, (corner[0] + CELL / 2, corner[1] + 0.87 * CELL), str(amount), INK, 14)


def unit(pen: ImageDraw.ImageDraw, corner: Point, kind: int, player: int, side: int = CELL) -> None:
    """A unit in its side's colour, each kind with a shape of its own, on a cell of `side` pixels."""
    colour = SIDES[player]

    def at(across: float, down: float) -> Point:
        return corner[0] + across * side, corner[1] + down * side

    if kind == BASE:
        walls = [(0.12, 0.9), (0.12, 0.3), (0.24, 0.3), (0.24, 0.42), (0.38, 0.42), (0.38, 0.3)]
        walls += [(0.62, 0.3), (0.62, 0.42), (0.76, 0.42), (0.76, 0.3), (0.88, 0.3), (0.88, 0.9)]
        pen.polygon([at(*point) for point in walls], colour, outline=INK)
        pen.rectangle((*at(0.42, 0.62), *at(0.58, 0.9)), INK)
    elif kind == BARRACKS:
        pen.polygon([at(0.12, 0.5), at(0.5, 0.24), at(0.88, 0.5)], INK)
        pen.rectangle((*at(0.18, 0.5), *at(0.82, 0.88)), colour, outline=INK)
        for across in (0.34, 0.5, 0.66):
            pen.line((*at(across, 0.58), *at(across, 0.88)), INK, max(1, side // 18))
    elif kind == WORKER:
        pen.ellipse((*at(0.38, 0.24), *at(0.62, 0.48)), (240, 205, 170), outline=INK)
        pen.pieslice((*at(0.28, 0.46), *at(0.72, 1.2)), 180, 360, colour, outline=INK)
    elif kind == LIGHT:
        pen.polygon(
            [at(0.5, 0.22), at(0.78, 0.86), at(0.5, 0.7), at(0.22, 0.86)], colour, outline=INK
        )
    else:
        points = [(0.5 + 0.36 * math.cos(a), 0.56 + 0.36 * math.sin(a)) for a in octagon()]
        pen.polygon([at(*point) for point in points], colour, outline=INK)
        pen.ellipse((*at(0.36, 0.42), *at(0.64, 0.7)), PAPER, outline=INK)


def octagon() -> list[float]:
    return [math.pi / 8 + number * math.pi / 4 for number in range(8)]


def marks(pen: ImageDraw.ImageDraw, corner: Point, health: float, rest: int, carried: int) -> None:
    """Health as a bar above, rest as dots at the right, ore that is carried as a nugget at the left."""
    left, top = corner[0] + 6, corner[1] + 5
    whole = CELL - 12
    colour = GOOD if health > 0.6 else WORN if health > 0.3 else BAD
    pen.rectangle((left - 1, top - 1, left + whole + 1, top + 5), PAPER, outline=INK)
    pen.rectangle((left, top, left + max(1, round(whole * health)), top + 4), colour)
    for number in range(min(rest, 6)):
        x, y = corner[0] + CELL - 8, corner[1] + CELL - 8 - 7 * number
        pen.ellipse((x - 2, y - 2, x + 2, y + 2), PAPER, outline=INK)
    if carried:
        x, y = corner[0] + 0.24 * CELL, corner[1] + 0.72 * CELL
        pen.polygon([(x - 8, y), (x, y - 9), (x + 8, y), (x, y + 9)], GOLD, outline=INK)


def figures(pen: ImageDraw.ImageDraw, rules: Strategy, board: int) -> None:
    """The score above the board: ore and material of both sides, the step, and who has won."""
    width, position = rules.size * CELL, rules.position
    material = position.material()[board].tolist()
    stock, kind = position.stock[board].tolist(), position.kind[board]
    for player, anchor, x in ((0, "lm", 8), (1, "rm", width - 8)):
        fighters = int((kind[player] >= LIGHT).sum())
        workers = int((kind[player] == WORKER).sum())
        text(pen, (x, 15), f"{NAMES[player]}: ore {stock[player]}", SIDES[player], 18, anchor)
        line = f"{counted(workers, 'worker')}, {counted(fighters, 'fighter')}, worth {material[player]:.0f}"
        text(pen, (x, 38), line, INK, 12, anchor)
    text(pen, (width / 2, 15), outcome(rules, board), INK, 15)


def outcome(rules: Strategy, board: int) -> str:
    """The step or, once the match is over, how it ended."""
    position = rules.position
    if not bool(position.over[board]):
        return f"step {int(position.clock[board])} of {rules.longest}"
    stands = (position.kind[board, :, 0] > 0).tolist()
    ahead = position.material()[board].tolist()
    won = stands if stands[0] != stands[1] else [ahead[0] > ahead[1], ahead[1] > ahead[0]]
    if not any(stands) or not any(won):
        return "a draw"
    return f"{NAMES[won.index(True)]} wins"


def legend(pen: ImageDraw.ImageDraw, size: int) -> None:
    """What the shapes are."""
    top, part = ABOVE + size * CELL + 4, size * CELL / 5
    for number, kind in enumerate((BASE, BARRACKS, WORKER, LIGHT, HEAVY)):
        unit(pen, (number * part + 4, top), kind, 0, BELOW - 8)
        place = (number * part + BELOW, top + (BELOW - 8) / 2)
        text(pen, place, KINDS[kind].name, INK, 13, "lm")


def text(
    pen: ImageDraw.ImageDraw, at: Point, words: str, colour: Colour, size: int, anchor: str = "mm"
) -> None:
    pen.text(at, words, colour, font_size=size, anchor=anchor)


def counted(number: int, word: str) -> str:
    return f"{number} {word}{'s'[: number != 1]}"
