"""A person against a player, in the terminal: the board in words, and a choice a line."""

from __future__ import annotations

from collections.abc import Callable

import torch

from framework.randomness import seeded
from plugins.league.arena import Side
from plugins.league.opponents import Opponent
from plugins.league.rules.contract import Rules

QUIT = ("q", "quit")


def play(
    rules: Rules,
    player: Opponent,
    seed: int,
    *,
    memory: tuple[int, int] | None = None,
    ask: Callable[[str], str] = input,
    tell: Callable[[str], None] = print,
) -> None:
    """Matches until the person has enough; the person is the first player in every other one.

    Args:
        rules: of one board, whose actions are one choice.
        memory: parts and width of the player's memory.
        ask, tell: how a line is read and written.
    """
    won, number = 0.0, 0
    while True:
        outcome = match(rules, player, number % 2, seed + number, memory, ask, tell)
        if outcome is None:
            return
        won, number = won + outcome, number + 1
        words = "You win" if outcome > 0 else "The agent wins" if outcome < 0 else "A draw"
        tell(f"{words} ({outcome:+g}). After {number}: {won:+g}.")
        if (answer := reply(ask, "Another? [y/n] ")) is None or answer not in ("", "y", "yes"):
            return


def match(
    rules: Rules,
    player: Opponent,
    seat: int,
    seed: int,
    memory: tuple[int, int] | None,
    ask: Callable[[str], str],
    tell: Callable[[str], None],
) -> float | None:
    """What the person wins in one match as player `seat`; None: the person has enough."""
    blank = None if memory is None else torch.zeros(memory[0], 1, memory[1], device=rules.device)
    side, board = Side(player, blank), torch.zeros(1, dtype=torch.long, device=rules.device)
    everywhere = torch.ones(1, dtype=torch.bool, device=rules.device)
    won, ended = 0.0, False
    with seeded(seed), torch.no_grad():
        rules.restart()
        while not ended:
            mine, theirs = bool(rules.to_move[seat, 0]), bool(rules.to_move[1 - seat, 0])
            actions = torch.zeros(2, 1, dtype=torch.long, device=rules.device)
            if theirs:
                actions[1 - seat] = side.act(rules, board, board + 1 - seat)
            if mine:
                tell(rules.words(0, seat))
                chosen = choice(rules, seat, ask, tell)
                if chosen is None:
                    return None
                actions[seat] = chosen
            elif theirs:
                tell(f"The agent: {rules.action_word(int(actions[1 - seat, 0]))}")
            gained, over = rules.play(actions, everywhere)
            won += float(gained) * (1 if seat == 0 else -1)
            ended = bool(over)
            if mine and theirs:
                tell(f"The agent: {rules.action_word(int(actions[1 - seat, 0]))}")
        tell(rules.words(0, seat))
        reveal = getattr(rules, "reveal", None)
        if reveal is not None and (said := reveal(0)):
            tell(said)
    return won


def choice(
    rules: Rules, seat: int, ask: Callable[[str], str], tell: Callable[[str], None]
) -> int | None:
    """An action that the person may take; None: the person has enough."""
    mask = rules.mask(torch.tensor([seat], device=rules.device))[0]
    words = {rules.action_word(action): action for action in mask.nonzero().flatten().tolist()}
    while True:
        answer = reply(ask, f"{' | '.join(words)} ? ")
        if answer is None:
            return None
        if answer in words:
            return words[answer]
        begins = [word for word in words if answer and word.lower().startswith(answer)]
        if len(begins) == 1:
            return words[begins[0]]
        tell(f"'{answer}': expected {', '.join(words)}, or q to end")


def reply(ask: Callable[[str], str], question: str) -> str | None:
    """A line in small letters; None where the person has enough."""
    try:
        answer = ask(question).strip().lower()
    except EOFError:
        return None
    return None if answer in QUIT else answer
