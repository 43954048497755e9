"""The page on which a person plays the strategy game, and the match that is played there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from framework.config.validation import check_options
from framework.errors import UserError
from framework.local_page import Activity, LocalPage, Send, files_of
from framework.randomness import seeded
from plugins.league.opponents import Opponent, View, seen_by
from plugins.league.play_page.orders import Order, Seen, actions
from plugins.league.rules.strategy.game import Strategy
from plugins.league.rules.strategy.observation import HEALTH, ORE, PLANE, REST
from plugins.league.rules.strategy.orders import ACTIONS
from plugins.league.rules.strategy.units import KINDS

PAGE = Path(__file__).parent / "page"
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Slot = Annotated[int, Field(ge=0, lt=64)]


class Table:
    """One match of a person against a player.

    Args:
        rules: of one board.
        player: the opponent.
    """

    def __init__(self, rules: Strategy, player: Opponent) -> None:
        self.rules, self.player = rules, player
        self.seed, self.moves, self.side = 0, 0, 0
        self.orders: dict[int, Order] = {}
        self.payoff = 0.0
        self.begin(0)

    def begin(self, seed: int) -> None:
        """A new match; the person is either side in turn."""
        self.seed, self.moves, self.side = seed, 0, seed % 2
        self.orders, self.payoff = {}, 0.0
        with seeded(seed):
            self.rules.restart()

    def seen(self) -> Seen:
        """What the person sees."""
        me = torch.tensor([self.side])
        shown = self.rules.observe(me)
        assert isinstance(shown, dict)
        legal = self.rules.mask(me)[0].view(-1, ACTIONS)
        return Seen(shown["map"][0], shown["cells"][0], legal)

    @property
    def over(self) -> bool:
        return bool(self.rules.state["over"][0])

    @torch.no_grad()
    def step(self) -> None:
        """Both sides act once."""
        if self.over:
            return
        own = actions(self.seen(), self.orders)
        other = torch.tensor([1 - self.side])
        start = torch.tensor([self.moves == 0])
        board = torch.zeros(1, dtype=torch.long)
        with seeded(self.seed + 1 + self.moves):
            view = View(self.rules, board, other, seen_by(self.rules, other), None, start)
            answer = self.player.act(view).actions[0]
        both = [own, answer] if self.side == 0 else [answer, own]
        gained, _ = self.rules.play(torch.stack(both).unsqueeze(1), torch.tensor([True]))
        self.payoff += float(gained) * (1 if self.side == 0 else -1)
        self.moves += 1
        self.forget()

    def forget(self) -> None:
        """Forget the orders of units that are gone, and of what has been built."""
        seen = self.seen()
        kept = {}
        for slot, order in self.orders.items():
            kind = seen.kind(slot)
            built = (
                order.task == "make"
                and KINDS[kind].mobile
                and int(seen.board[PLANE["rest"]].view(-1)[seen.cells[slot]]) > 0
            )
            if kind and not built:
                kept[slot] = order
        self.orders = kept

    def order(self, slot: int, order: Order | None) -> None:
        """Give a unit an order, or take it away.

        Raises:
            UserError: there is no such unit, or it cannot do so.
        """
        seen = self.seen()
        kind = seen.kind(slot) if slot < len(seen.cells) else 0
        if kind == 0:
            raise UserError(f"order.slot = {slot}: no unit of yours is there")
        if order is None:
            self.orders.pop(slot, None)
            return
        if order.task == "make" and order.product not in KINDS[kind].makes:
            made = ", ".join(KINDS[product].name for product in KINDS[kind].makes) or "nothing"
            raise UserError(f"order.product: a {KINDS[kind].name} makes {made}")
        if order.task != "make" and not KINDS[kind].mobile:
            raise UserError(f"order.task = '{order.task}': a {KINDS[kind].name} stays where it is")
        self.orders[slot] = order

    def shown(self) -> dict[str, Any]:
        """What the page draws, from the person's view alone."""
        seen = self.seen()
        board = seen.board.flatten(1)
        units = []
        for number, kind in enumerate(KINDS[1:], start=1):
            for side, plane in (("own", "own base"), ("other", "other base")):
                for cell in board[PLANE[plane] + number - 1].nonzero().flatten().tolist():
                    units.append(
                        {
                            "side": side,
                            "kind": kind.name,
                            "cell": cell,
                            "health": int(board[PLANE["health"], cell]) // HEALTH,
                            "whole": kind.health,
                            "rest": int(board[PLANE["rest"], cell]) // REST,
                            "carries": bool(board[PLANE["carried"], cell]),
                        }
                    )
        slots = {int(cell): slot for slot, cell in enumerate(seen.cells)}
        for unit in units:
            if unit["side"] == "own":
                slot = unit["slot"] = slots[unit["cell"]]
                given = self.orders.get(slot)
                unit["order"] = None if given is None else vars(given)
        state = self.rules.position
        return {
            "size": seen.size,
            "seen": (board[PLANE["seen"]] > 0).int().tolist(),
            "ore": (board[PLANE["ore"]] // ORE).tolist(),
            "units": units,
            "stock": int(state.stock[0, self.side]),
            "step": int(state.clock[0]),
            "longest": self.rules.longest,
            "over": self.over,
            "payoff": self.payoff,
        }


class PlayPage(LocalPage):
    """The page while it is served: `with PlayPage(rules, player) as page: page.wait()`.

    Args:
        rules: of one board.
        player: whom the person plays.
        port: of this machine; 0: any that is free.

    Raises:
        UserError: the port is taken, or not to be had.
    """

    def __init__(self, rules: Strategy, player: Opponent, port: int = 0) -> None:
        self.table = Table(rules, player)
        super().__init__(files_of(PAGE), self.activity, port=port)

    def activity(self, name: str) -> Activity | None:
        """What a visitor can do, by name: begin, order, step, look."""
        named: dict[str, Callable[..., None]] = {
            "begin": begin,
            "order": order,
            "step": step,
            "look": look,
        }
        function = named.get(name)
        if function is None:
            return None

        def perform(send: Send, options: Mapping[str, str], data: bytes) -> None:
            checked = check_options(function, options, name)
            function(self.table, **checked)
            send(self.table.shown())

        return perform


def begin(table: Table, *, seed: Seed = 0) -> None:
    """A new match."""
    table.begin(seed)


def look(table: Table) -> None:
    """The match as it stands."""


def step(table: Table) -> None:
    """Both sides act once."""
    table.step()


def order(
    table: Table,
    *,
    slot: Slot,
    task: Literal["go", "gather", "make", "wait"],
    cell: Annotated[int, Field(ge=0)] = 0,
    product: Literal["worker", "barracks", "light", "heavy"] | None = None,
) -> None:
    """A standing order to one unit."""
    if cell >= table.rules.size**2:
        raise UserError(f"order.cell = {cell}: expected at most {table.rules.size**2 - 1}")
    made = 0 if product is None else [kind.name for kind in KINDS].index(product)
    table.order(slot, None if task == "wait" else Order(task, cell, made))
