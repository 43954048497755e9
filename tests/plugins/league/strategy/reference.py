"""The strategy game once more, in plain Python: one board, one unit at a time, rows and columns without a border."""

from __future__ import annotations

from dataclasses import dataclass, field

UP, RIGHT, DOWN, LEFT = (-1, 0), (0, 1), (1, 0), (0, -1)
WAYS = (UP, RIGHT, DOWN, LEFT)
#         cost, health, damage, making time, rest after a move, rest after an attack
BASE, BARRACKS, WORKER, LIGHT, HEAVY = "base", "barracks", "worker", "light", "heavy"
KINDS = {
    BASE: (10, 16, 0, 0, 0, 0),
    BARRACKS: (5, 8, 0, 6, 0, 0),
    WORKER: (1, 2, 1, 4, 0, 1),
    LIGHT: (2, 4, 2, 4, 0, 0),
    HEAVY: (3, 10, 3, 6, 1, 1),
}
MAKES = {BASE: [WORKER], WORKER: [BARRACKS], BARRACKS: [LIGHT, HEAVY]}
NAMES = [None, BASE, BARRACKS, WORKER, LIGHT, HEAVY]
Cell = tuple[int, int]


@dataclass
class Unit:
    kind: str
    cell: Cell
    health: int
    rest: int = 0
    carried: int = 0


@dataclass
class Board:
    """One board; `units[player]` has one entry for each slot, None where it is empty."""

    size: int
    units: list[list[Unit | None]]
    stock: list[int]
    ore: dict[Cell, int]
    lost: int = 0
    spent: int = 0
    log: list[str] = field(default_factory=list)

    def at(self, cell: Cell) -> tuple[int, Unit] | None:
        for player in (0, 1):
            for unit in self.units[player]:
                if unit is not None and unit.cell == cell:
                    return player, unit
        return None

    def inside(self, cell: Cell) -> bool:
        return 0 <= cell[0] < self.size and 0 <= cell[1] < self.size

    def free(self, cell: Cell) -> bool:
        return self.inside(cell) and self.at(cell) is None and not self.ore.get(cell)

    def target(self, player: int, unit: Unit, action: int) -> Cell:
        down, across = WAYS[(action - 1) % 4]
        sign = 1 if player == 0 else -1
        return unit.cell[0] + sign * down, unit.cell[1] + sign * across

    def legal(self, player: int, slot: int) -> list[bool]:
        unit = self.units[player][slot]
        return [True] + [
            unit is not None and unit.rest == 0 and self.meaning(player, unit, action) is not None
            for action in range(1, 13)
        ]

    def meaning(self, player: int, unit: Unit, action: int) -> tuple[str, str] | None:
        """What an action does, ("move", "") or ("make", kind), say; None where it is not legal."""
        cell = self.target(player, unit, action)
        if action >= 5:
            made = MAKES.get(unit.kind, [])
            which = (action - 5) // 4
            if which >= len(made) or not self.free(cell) or None not in self.units[player]:
                return None
            return ("make", made[which]) if KINDS[made[which]][0] <= self.stock[player] else None
        if unit.kind in (BASE, BARRACKS):
            return None
        if self.free(cell):
            return "move", ""
        there = self.at(cell)
        if there is not None and there[0] != player:
            return "attack", ""
        if unit.kind != WORKER:
            return None
        if self.ore.get(cell) and not unit.carried:
            return "gather", ""
        if there is not None and there[1].kind == BASE and unit.carried:
            return "deliver", ""
        return None

    def step(self, actions: list[list[int]]) -> None:
        """Both players' actions, one for each slot; illegal ones do nothing."""
        orders = []
        for player in (0, 1):
            for slot, unit in enumerate(self.units[player]):
                if unit is None:
                    continue
                action = actions[player][slot]
                if action == 0 or unit.rest > 0:
                    continue
                meaning = self.meaning(player, unit, action)
                if meaning is not None:
                    orders.append((player, slot, unit, self.target(player, unit, action), meaning))
        everyone = [unit for side in self.units for unit in side if unit is not None]
        for unit in everyone:
            unit.rest = max(0, unit.rest - 1)
        for _, _, unit, cell, (what, _) in orders:
            if what == "attack":
                there = self.at(cell)
                assert there is not None
                there[1].health -= KINDS[unit.kind][2]
                unit.rest = KINDS[unit.kind][5]
        slots = [[s for s, unit in enumerate(side) if unit is None] for side in self.units]
        orders = [order for order in orders if order[2].health > 0 and order[4][0] != "attack"]
        makes = self.paid([order for order in orders if order[4][0] == "make"])
        entering = [o for o in orders if o[4][0] == "move"] + makes
        wanted = [order[3] for order in entering]
        takers = [order[3] for order in orders if order[4][0] == "gather"]
        for player, _, unit, cell, (what, made) in orders:
            if what == "gather" and takers.count(cell) <= self.ore[cell]:
                unit.carried, unit.rest = 1, 1
            elif what == "deliver":
                self.stock[player] += unit.carried
                unit.carried = 0
        for cell in set(takers):
            if takers.count(cell) <= self.ore[cell]:
                self.ore[cell] -= takers.count(cell)
        new = []
        for player, _, unit, cell, (what, made) in entering:
            if wanted.count(cell) > 1:
                continue
            if what == "move":
                unit.cell, unit.rest = cell, KINDS[unit.kind][4]
            else:
                cost, health, _, making, *_ = KINDS[made]
                self.stock[player] -= cost
                self.spent += cost
                unit.rest = making
                new.append((player, Unit(made, cell, health, making)))
        for player in (0, 1):
            for slot, unit in enumerate(self.units[player]):
                if unit is not None and unit.health <= 0:
                    self.lost += unit.carried
                    self.units[player][slot] = None
        for player, unit in new:
            self.units[player][slots[player].pop(0)] = unit

    def paid(self, makes: list) -> list:  # type: ignore[type-arg]
        """The orders that stock and free slots last for, in the order of slots."""
        kept = []
        for player in (0, 1):
            left, room = self.stock[player], self.units[player].count(None)
            for order in makes:
                if order[0] != player:
                    continue
                left, room = left - KINDS[order[4][1]][0], room - 1
                if left >= 0 and room >= 0:
                    kept.append(order)
        return kept
