"""OpenSpiel's two-player zero-sum games as rules: `task.game=openspiel:tic_tac_toe` (extra [selfplay])."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy
import torch
from gymnasium.spaces import Box, Discrete

from framework.errors import UserError, suggestion
from framework.extras import import_extra
from plugins.games.environments.native.games import State
from plugins.league.rules.played import LONGEST, PlayedRules

PREFIX = "openspiel"


class OpenSpielMatch:
    """One state of OpenSpiel's, chance's moves in it drawn as they come."""

    def __init__(self, state: Any, use_information_state: bool) -> None:
        self.state, self.use_information_state = state, use_information_state
        self.history: list[int] = []

    @property
    def to_move(self) -> tuple[bool, bool]:
        if self.state.is_terminal():
            return False, False
        if self.state.is_simultaneous_node():
            return True, True
        player = self.state.current_player()
        return player == 0, player == 1

    def legal(self, player: int) -> list[int]:
        decides = self.to_move[player]
        return self.state.legal_actions(player) if decides else []

    def observe(self, player: int) -> numpy.ndarray[Any, Any]:
        tensor = "information_state_tensor" if self.use_information_state else "observation_tensor"
        return numpy.asarray(getattr(self.state, tensor)(player), dtype=numpy.float32)

    def act(self, actions: tuple[int, int]) -> float:
        before = self.state.returns()[0]
        if self.state.is_simultaneous_node():
            self.apply(*actions)
        else:
            self.apply(actions[self.state.current_player()])
        self.draw()
        return float(self.state.returns()[0] - before)

    def apply(self, *moves: int) -> None:
        """Chance's move, one player's, or both players'."""
        if self.state.is_simultaneous_node():
            self.state.apply_actions(list(moves))
        else:
            self.state.apply_action(moves[0])
        self.history += moves

    def draw(self) -> None:
        """Let chance move, by torch's global generator, until a player decides."""
        while self.state.is_chance_node():
            outcomes, chances = zip(*self.state.chance_outcomes(), strict=True)
            drawn = torch.multinomial(torch.tensor(chances, dtype=torch.float64), 1)
            self.apply(outcomes[int(drawn)])

    def words(self, player: int) -> str:
        text = (
            self.state.information_state_string(player)
            if self.use_information_state
            else self.state.observation_string(player)
        )
        return str(text)


class OpenSpiel(PlayedRules):
    """N matches of a game of OpenSpiel's.

    Players see the information state where something is hidden and the game has one, so that they forget nothing; else
    the observation.

    Raises:
        UserError: a game that is unknown, or that is not for two players, zero-sum, with chance that can be drawn.
    """

    def __init__(
        self, boards: int, device: torch.device | str, name: str, options: Mapping[str, Any]
    ) -> None:
        super().__init__(boards, device)
        library = import_extra(
            "pyspiel", "selfplay", f"task.game = '{PREFIX}:{name}' needs OpenSpiel"
        )
        self.game = loaded(library, name, options)
        kind = self.game.get_type()
        refuse_unserved(library, self.game, f"task.game = '{PREFIX}:{name}'")
        hidden = kind.information != kind.Information.PERFECT_INFORMATION
        self.use_information_state = bool(
            kind.provides_information_state_tensor
            and (hidden or not kind.provides_observation_tensor)
        )
        self.perfect_information = (
            not hidden
            and kind.chance_mode == kind.ChanceMode.DETERMINISTIC
            and kind.dynamics == kind.Dynamics.SEQUENTIAL
        )
        shape = (
            self.game.information_state_tensor_shape()
            if self.use_information_state
            else self.game.observation_tensor_shape()
        )
        self.observation_space = Box(-numpy.inf, numpy.inf, tuple(shape), numpy.float32)
        self.action_space = Discrete(self.game.num_distinct_actions())
        # Histories count chance's moves, and both of a move at once.
        entries = 2 * self.game.max_game_length() + self.game.max_chance_nodes_in_history()
        self.longest = min(entries, LONGEST)

    def blank(self) -> OpenSpielMatch:
        return OpenSpielMatch(self.game.new_initial_state(), self.use_information_state)

    def new(self) -> OpenSpielMatch:
        match = self.blank()
        match.draw()
        return match

    def again(self, history: list[int]) -> OpenSpielMatch:
        match, rest = self.blank(), iter(history)
        for move in rest:
            both = match.state.is_simultaneous_node()
            match.apply(*((move, next(rest)) if both else (move,)))
        return match

    def action_word(self, action: int) -> str:
        """As it is called on the first board, where it is allowed there; else its number."""
        match = self.matches[0]
        assert isinstance(match, OpenSpielMatch)
        for player in (0, 1):
            if action in match.legal(player):
                return str(match.state.action_to_string(player, action))
        return str(action)

    def deals(self) -> tuple[State, torch.Tensor]:
        """Where chance moves only before the first decision: all that it can do.

        Raises:
            NotImplementedError: it may move later.
        """
        found: list[tuple[OpenSpielMatch, float]] = []
        open_ones: list[tuple[list[int], float]] = [([], 1.0)]
        while open_ones:
            history, chance = open_ones.pop()
            match = self.again(history)
            if not match.state.is_chance_node():
                found.append((match, chance))
                continue
            for outcome, part in match.state.chance_outcomes():
                open_ones.append(([*history, outcome], chance * part))
        if any(len(m.history) != self.game.max_chance_nodes_in_history() for m, _ in found):
            raise NotImplementedError
        return self.state_of(match for match, _ in found), torch.tensor([c for _, c in found])


def loaded(library: Any, name: str, options: Mapping[str, Any]) -> Any:
    """The game of that name, its parameters checked first: OpenSpiel writes its errors where they cannot be held back.

    Raises:
        UserError: names the option.
    """
    known = {kind.short_name: kind for kind in library.registered_games()}
    if name not in known:
        near = suggestion(name, sorted(known))
        raise UserError(f"task.game = '{PREFIX}:{name}': OpenSpiel has no such game; {near}")
    parameters = known[name].parameter_specification
    for option, value in options.items():
        if option not in parameters:
            near = suggestion(option, sorted(parameters)) if parameters else "it has none"
            raise UserError(f"task.game_options.{option}: '{name}' has no such parameter; {near}")
        expected = type(parameters[option])
        if type(value) is not expected:
            raise UserError(
                f"task.game_options.{option} = {value!r}: expected one of type {expected.__name__}"
            )
    try:
        return library.load_game(name, dict(options))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        raise UserError(f"task.game = '{PREFIX}:{name}': OpenSpiel refuses it: {reason}") from None


def refuse_unserved(library: Any, game: Any, label: str) -> None:
    """Refuse what is not a game of two players against each other.

    Raises:
        UserError: says what the game is, and what is expected.
    """
    kind = game.get_type()
    if game.num_players() != 2:
        raise UserError(f"{label}: expected a game of two players, not of {game.num_players()}")
    if kind.utility != kind.Utility.ZERO_SUM:
        raise UserError(
            f"{label}: expected a zero-sum game, not one whose payoffs are {words(kind.utility)}"
        )
    if kind.dynamics not in (kind.Dynamics.SEQUENTIAL, kind.Dynamics.SIMULTANEOUS):
        raise UserError(
            f"{label}: expected players who move in turn or at once, not {words(kind.dynamics)}"
        )
    if kind.chance_mode == kind.ChanceMode.SAMPLED_STOCHASTIC:
        raise UserError(
            f"{label}: expected chance with known probabilities; this game draws by itself, so that no match repeats"
        )
    if not (kind.provides_observation_tensor or kind.provides_information_state_tensor):
        raise UserError(
            f"{label}: it describes no position by numbers, so that no policy can read it"
        )


def words(value: Any) -> str:
    return str(value.name).lower().replace("_", " ")
