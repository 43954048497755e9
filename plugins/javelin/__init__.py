"""The javelin: one parameter, an answer everybody can check, and work for every estimator."""

from framework.plugin import Plugin

plugin = Plugin(
    name="javelin",
    summary="The angle that throws a javelin farthest: the smallest complete plugin.",
    tasks={"javelin": "plugins.javelin.task:Javelin"},
)
