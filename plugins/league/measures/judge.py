"""Judged by matches: scores against anchors, a tournament of snapshots, and a film of a match."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from framework import Image, Video
from framework.media import Media
from plugins.league.arena import Arena
from plugins.league.film import film
from plugins.league.measures.anchors import against_anchors
from plugins.league.measures.tournament import elo_figure, heat_map, standings, tournament
from plugins.league.opponents import Opponent
from plugins.league.rules.contract import Rules


@dataclass(frozen=True)
class Judge:
    """Measures a player and shows what it does.

    Attributes:
        rules: of as many boards.
        memory: parts and width of a policy's memory.
        anchors: fixed players, by name.
        matches: against each anchor.
        tournament_matches: between each two entrants; 0: there is no tournament.
    """

    rules: Callable[[int], Rules]
    memory: tuple[int, int] | None
    anchors: Mapping[str, Opponent]
    matches: int
    tournament_matches: int

    def arena(self, matches: int) -> Arena:
        """Where this many matches are played at once."""
        return Arena(lambda: self.rules(matches), self.memory)

    def scores(self, player: Opponent, seed: int) -> dict[str, float]:
        """See `against_anchors`."""
        return against_anchors(player, self.anchors, self.arena(self.matches), seed)

    def ratings(
        self, entrants: Mapping[str, Opponent], snapshots: list[str], seed: int
    ) -> dict[str, float]:
        """Elo of all entrants, and how far the last one is above the first snapshot; see `standings`."""
        if not self.tournament_matches or len(entrants) < 2:
            return {}
        table = tournament(entrants, self.arena(self.tournament_matches), seed)
        return standings(table, snapshots)

    def pictures(self, entrants: Mapping[str, Opponent], seed: int) -> Iterator[Media]:
        """Who beats whom, and ratings, of half as many matches."""
        if self.tournament_matches and len(entrants) > 1:
            table = tournament(entrants, self.arena(max(20, self.tournament_matches // 2)), seed)
            yield Image.from_figure("payoffs", heat_map(table))
            yield Image.from_figure("elo", elo_figure(table.names, table.ratings()))

    def video(self, player: Opponent, seed: int) -> Iterator[Video]:
        """One match against the last anchor, or against itself where there is none."""
        rival = [player, *self.anchors.values()][-1]
        rules = self.rules(1)
        frames = film(rules, player, rival, seed, memory=self.memory)
        if len(frames):
            yield Video("match", frames, rules.frames_per_second)
