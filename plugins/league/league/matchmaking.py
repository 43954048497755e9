"""Whom a learner meets next: a probability for each opponent, by the learner's role and what has been won so far.

The roles are AlphaStar's (Vinyals et al. 2019, methods and supplementary pseudocode): the main agent plays itself, all
past players and those that it no longer beats; a main exploiter plays the main agent; a league exploiter plays all past
players. Past players are met in proportion to a function of the win rate x against them (prioritised fictitious
self-play).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from plugins.league.league.payoffs import Payoffs

Weighting = Literal["variance", "linear", "linear_capped", "squared"]
WEIGHTINGS: dict[Weighting, Callable[[float], float]] = {
    # Those of about the same strength.
    "variance": lambda x: x * (1 - x),
    "linear": lambda x: 1 - x,
    "linear_capped": lambda x: min(0.5, 1 - x),
    # The hardest.
    "squared": lambda x: (1 - x) ** 2,
}
# Parts of the main agent's matches: against all past players, and against those that it does not beat.
PAST, UNBEATEN = 0.5, 0.15
# Below this rate a main exploiter's snapshot is not beaten, and a past main agent is forgotten.
STRONG, FORGOTTEN = 0.3, 0.7
# Below this rate the main agent is too hard for a new exploiter, which then meets its snapshots.
HOPELESS = 0.1

Opponents = dict[str, float]


@dataclass(frozen=True)
class Standing:
    """What a choice of opponents goes by.

    Attributes:
        snapshots: names of past players, by the learner that they are of.
        roles: of the learners, by name.
    """

    payoffs: Payoffs
    snapshots: Mapping[str, Sequence[str]]
    roles: Mapping[str, str]

    def of_role(self, role: str) -> list[str]:
        """The snapshots of all learners of a role."""
        names = [name for name, own in self.roles.items() if own == role]
        return [snapshot for name in names for snapshot in self.snapshots[name]]

    @property
    def past(self) -> list[str]:
        return [snapshot for own in self.snapshots.values() for snapshot in own]

    def rates(self, player: str, opponents: Sequence[str]) -> list[float]:
        return [self.payoffs.win_rate(player, opponent) for opponent in opponents]


def prioritised(rates: Sequence[float], weighting: Weighting) -> list[float]:
    """Probabilities of opponents by the win rates against them; equal ones where all weights are 0."""
    weights = [WEIGHTINGS[weighting](rate) for rate in rates]
    total = sum(weights)
    if total < 1e-10:
        return [1 / len(rates)] * len(rates)
    return [weight / total for weight in weights]


def among(
    player: str,
    opponents: Sequence[str],
    standing: Standing,
    weighting: Weighting,
    part: float = 1.0,
) -> Opponents:
    """Prioritised fictitious self-play among some opponents, for a part of all matches."""
    chances = prioritised(standing.rates(player, opponents), weighting)
    return {name: part * chance for name, chance in zip(opponents, chances, strict=True)}


def main_agent(player: str, standing: Standing) -> Opponents:
    """Half against all past players, a part against those that are not beaten, the rest against itself."""
    chosen = {player: 1.0}
    parts = [(standing.past, PAST), (unbeaten(player, standing), UNBEATEN)]
    for opponents, part in parts:
        if opponents:
            chosen[player] -= part
            for name, chance in among(player, opponents, standing, "squared", part).items():
                chosen[name] = chosen.get(name, 0.0) + chance
    return chosen


def unbeaten(player: str, standing: Standing) -> list[str]:
    """Main exploiters' snapshots where one is strong, else the own ones where one is no longer beaten."""
    for opponents, least in (
        (standing.of_role("main_exploiter"), STRONG),
        (list(standing.snapshots[player]), FORGOTTEN),
    ):
        if opponents and min(standing.rates(player, opponents)) < least:
            return opponents
    return []


def main_exploiter(player: str, standing: Standing) -> Opponents:
    """The main agents; the snapshots of one that is too hard."""
    mains = [name for name, role in standing.roles.items() if role == "main"]
    chosen: Opponents = {}
    for name in mains:
        snapshots = standing.snapshots[name]
        if standing.payoffs.win_rate(player, name) > HOPELESS or not snapshots:
            chosen[name] = chosen.get(name, 0.0) + 1 / len(mains)
        else:
            chosen |= among(player, snapshots, standing, "variance", 1 / len(mains))
    return chosen


def league_exploiter(player: str, standing: Standing) -> Opponents:
    """All past players; the main agents before there are any."""
    past = standing.past
    return (
        among(player, past, standing, "linear_capped") if past else main_exploiter(player, standing)
    )


def itself(player: str, standing: Standing) -> Opponents:
    """Plain self-play."""
    return {player: 1.0}


def linear_weights(count: int) -> list[float]:
    """Of `count` snapshots the t-th with weight t: early responses, to little, are soon outweighed.

    The running average moves by 2 / (t + 1) to each new response (Jaggi 2013; CFR's average: Brown and Sandholm 2019).
    """
    total = count * (count + 1) / 2
    return [(number + 1) / total for number in range(count)]


def average(player: str, standing: Standing) -> Opponents:
    """The average of its own snapshots: fictitious self-play (Heinrich et al. 2015), with linear weights."""
    own = standing.snapshots[player]
    return dict(zip(own, linear_weights(len(own)), strict=True)) or itself(player, standing)


def rivals(player: str, standing: Standing) -> Opponents:
    """Those that are to be exploited, each as often."""
    met = standing.snapshots["rivals"]
    return dict.fromkeys(met, 1 / len(met))


MATCHMAKING: dict[str, Callable[[str, Standing], Opponents]] = {
    "self": itself,
    "average": average,
    "exploiter": rivals,
    "main": main_agent,
    "main_exploiter": main_exploiter,
    "league_exploiter": league_exploiter,
}
