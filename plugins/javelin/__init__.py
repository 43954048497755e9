"""The javelin: one parameter, an answer anyone can check, and a task for every estimator."""

from framework.plugin import Plugin

plugin = Plugin(
    name="javelin",
    summary="The angle that throws a javelin farthest: the smallest complete plugin.",
    tasks={"javelin": "plugins.javelin.task:Javelin"},
)
