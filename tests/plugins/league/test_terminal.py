"""A person against a player in the terminal: only legal choices are taken, and what was won is told."""

from collections.abc import Iterator

import pytest

from plugins.league.opponents import RandomPlayer
from plugins.league.players.naming import named_player
from plugins.league.rules.contract import Rules
from plugins.league.rules.making import make_rules
from plugins.league.terminal import play


def played(game: str, answers: list[str], player: str = "random") -> tuple[list[str], list[str]]:
    """The questions and what was told; the last answer is followed by the end of the input."""
    rules: Rules = make_rules(game, 1)
    given: Iterator[str] = iter(answers)
    asked: list[str] = []
    told: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        try:
            return next(given)
        except StopIteration:
            raise EOFError from None

    opponent = RandomPlayer() if player == "random" else named_player(player, rules, "player")
    play(rules, opponent, 0, ask=ask, tell=told.append)
    return asked, told


def test_only_what_is_legal_is_taken():
    asked, told = played("tic_tac_toe", ["x", "0", " 5 ", "5", "Q"])
    assert asked[0] == "1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 ? "
    assert told[1] == "'x': expected 1, 2, 3, 4, 5, 6, 7, 8, 9, or q to end"
    # What was taken is no longer asked for.
    assert "5" not in asked[3]
    assert told[-1].startswith("'5': expected ")


def test_a_perfect_player_does_not_lose_and_the_person_begins_every_other_match():
    # The person takes the lowest free place each time.
    places = [str(place) for place in range(1, 10)]
    _, told = played("tic_tac_toe", places * 12, "minimax_8")
    outcomes = [line for line in told if "After" in line]
    assert outcomes
    assert all(line.startswith(("The agent wins", "A draw")) for line in outcomes)


def test_a_card_game_says_what_was_held_and_won():
    asked, told = played("kuhn", ["b", "n"])
    assert asked == ["pass | bet ? ", "Another? [y/n] "]
    assert told[0].startswith("Your card: ")
    assert told[-2].startswith("The first player held ")
    assert told[-1].endswith((" +2.", " -2.", " +1."))


def test_the_end_of_the_input_ends_it():
    asked, told = played("connect_four", [])
    assert len(asked) == 1
    assert len(told) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which run? diffobj play run=RUN_FOLDER"),
        (["run=nowhere"], "nowhere"),
        (["run=nowhere", "sped=1"], "unknown key 'sped'"),
    ],
)
def test_the_command_refuses_in_one_line(diffobj, arguments, said):
    outcome = diffobj("play", *arguments)
    assert outcome.status == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1
