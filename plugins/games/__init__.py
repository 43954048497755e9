"""Game agents: a policy, an environment of many games at once, and a gradient averaged over episodes."""

from framework.plugin import Plugin

plugin = Plugin(
    name="games",
    summary="Agents that learn to play: any gymnasium environment with a discrete choice of actions.",
    tasks={"game": "plugins.games.task:Game"},
)
