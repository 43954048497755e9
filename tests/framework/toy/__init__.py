"""A plugin for tests only: a small regression that can be told to fail in many ways."""

from framework.plugin import Plugin

plugin = Plugin(
    name="toy",
    summary="A small regression that can be told to fail.",
    commands={"speak": "tests.framework.toy.speak:run"},
    tasks={
        "regression": "tests.framework.toy.task:Regression",
        "draws": "tests.framework.toy.draws:Draws",
        **{
            name: f"tests.framework.toy.broken:{name.capitalize()}"
            for name in (
                *("detached", "unkeyed", "forgetful", "infinite", "headless", "still"),
                *("early", "averaged", "lost", "raising"),
            )
        },
    },
)
