"""A person against a player, in a terminal."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from framework.randomness import seeded
from plugins.league.arena import Side
from plugins.league.opponents import Opponent
from plugins.league.rules.contract import Rules

# What ends a match at once.
QUIT = ("q", "quit", "exit")


def play(
    rules: Rules,
    player: Opponent,
    person: int,
    seed: int,
    *,
    memory: tuple[int, int] | None = None,
    ask: Callable[[str], str] = input,
    say: Callable[[str], None] = print,
) -> float | None:
    """Play one match and return what the person wins; None: the person left.

    Args:
        rules: of one board.
        person: which player the person is, 0 or 1.
        memory: parts and width of the player's memory.
        ask: gets a line from the person.
        say: shows lines to it.
    """
    blank = None if memory is None else torch.zeros(memory[0], 1, memory[1], device=rules.device)
    side, seat = Side(player, blank), torch.tensor([1 - person], device=rules.device)
    board, won = torch.zeros(1, dtype=torch.long, device=rules.device), 0.0
    with seeded(seed):
        rules.restart()
        over = False
        while not over:
            actions = torch.zeros(2, 1, dtype=torch.long, device=rules.device)
            decides = rules.to_move[:, 0].tolist()
            if decides[person]:
                chosen = asked(rules, person, ask, say)
                if chosen is None:
                    return None
                actions[person] = chosen
            if decides[1 - person]:
                answer = side.act(rules, board, seat)
                actions[1 - person] = answer
                say(f"It plays {rules.action_word(int(answer))}." if not decides[person] else "")
            gained, ended = rules.play(
                actions, torch.ones(1, dtype=torch.bool, device=rules.device)
            )
            won += float(gained) * (1 if person == 0 else -1)
            over = bool(ended)
    say(rules.words(0, person))
    if rules.reveal(0):
        say(rules.reveal(0))
    say("A draw." if won == 0 else f"You {'win' if won > 0 else 'lose'} {abs(won):g}.")
    return won


def asked(
    rules: Rules, person: int, ask: Callable[[str], str], say: Callable[[str], None]
) -> int | None:
    """The person's action, asked for until it is one of those that are allowed; None: the person leaves."""
    say(rules.words(0, person))
    mask: Tensor = rules.mask(torch.tensor([person], device=rules.device))[0]
    allowed: dict[str, int] = {
        rules.action_word(action): action for action in mask.nonzero().flatten().tolist()
    }
    # Chess has moves that only capitals tell apart.
    in_any_case = {word.lower(): action for word, action in allowed.items()}
    while True:
        try:
            word = ask(f"Your move ({', '.join(allowed)}; q ends): ").strip()
        except EOFError:
            return None
        if word.lower() in QUIT:
            return None
        action = allowed.get(word, in_any_case.get(word.lower()))
        if action is not None:
            return action
        say(f"'{word}' is no move here.")
