"""Two-player games: self-play, a league, and exact measures of how good it is."""

from framework.plugin import Plugin

plugin = Plugin(
    name="league",
    summary="Two-player zero-sum games learned by self-play and in a league, judged by exact measures.",
)
