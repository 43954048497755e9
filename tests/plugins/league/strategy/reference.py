"""The strategy game once more, in plain Python: one board, one unit at a time, rows and columns without a border."""

from __future__ import annotations

from dataclasses import dataclass

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
class Order:
    """What a unit does: move, attack, gather, deliver or make."""

    player: int
    unit: Unit
    cell: Cell
    what: str
    product: str


@dataclass
class Board:
    """One board; `units[player]` has one entry for each slot, None where it is empty."""

    size: int
    units: list[list[Unit | None]]
    stock: list[int]
    ore: dict[Cell, int]
    lost: int = 0
    spent: int = 0

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
        orders = self.understood(actions)
        for side in self.units:
            for unit in side:
                if unit is not None:
                    unit.rest = max(0, unit.rest - 1)
        self.attack([order for order in orders if order.what == "attack"])
        free = [[s for s, unit in enumerate(side) if unit is None] for side in self.units]
        orders = [order for order in orders if order.unit.health > 0]
        self.gather([order for order in orders if order.what == "gather"])
        for order in orders:
            if order.what == "deliver":
                self.stock[order.player] += order.unit.carried
                order.unit.carried = 0
        makes = self.paid([order for order in orders if order.what == "make"])
        new = self.enter([order for order in orders if order.what == "move"] + makes)
        for player in (0, 1):
            for slot, unit in enumerate(self.units[player]):
                if unit is not None and unit.health <= 0:
                    self.lost += unit.carried
                    self.units[player][slot] = None
        for player, unit in new:
            self.units[player][free[player].pop(0)] = unit

    def understood(self, actions: list[list[int]]) -> list[Order]:
        """The legal actions."""
        orders = []
        for player in (0, 1):
            for slot, unit in enumerate(self.units[player]):
                action = actions[player][slot]
                if unit is None or action == 0 or unit.rest > 0:
                    continue
                meaning = self.meaning(player, unit, action)
                if meaning is not None:
                    orders.append(Order(player, unit, self.target(player, unit, action), *meaning))
        return orders

    def attack(self, orders: list[Order]) -> None:
        for order in orders:
            there = self.at(order.cell)
            assert there is not None
            there[1].health -= KINDS[order.unit.kind][2]
            order.unit.rest = KINDS[order.unit.kind][5]

    def gather(self, orders: list[Order]) -> None:
        wanted = [order.cell for order in orders]
        enough = {cell for cell in wanted if wanted.count(cell) <= self.ore[cell]}
        for order in orders:
            if order.cell in enough:
                order.unit.carried, order.unit.rest = 1, 1
                self.ore[order.cell] -= 1

    def enter(self, orders: list[Order]) -> list[tuple[int, Unit]]:
        """Moves and what is made, where nobody else wants to be; what is new, by player."""
        wanted = [order.cell for order in orders]
        new = []
        for order in orders:
            if wanted.count(order.cell) > 1:
                continue
            if order.what == "move":
                order.unit.cell, order.unit.rest = order.cell, KINDS[order.unit.kind][4]
                continue
            cost, health, _, making, *_ = KINDS[order.product]
            self.stock[order.player] -= cost
            self.spent += cost
            order.unit.rest = making
            new.append((order.player, Unit(order.product, order.cell, health, making)))
        return new

    def paid(self, makes: list[Order]) -> list[Order]:
        """The orders that stock and free slots last for, in the order of slots."""
        kept = []
        for player in (0, 1):
            left, room = self.stock[player], self.units[player].count(None)
            for order in makes:
                if order.player == player:
                    left, room = left - KINDS[order.product][0], room - 1
                    if left >= 0 and room >= 0:
                        kept.append(order)
        return kept
