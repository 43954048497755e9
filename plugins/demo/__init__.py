"""The demo: one page on this machine where the other plugins can be tried with a mouse."""

from framework.plugin import Plugin

plugin = Plugin(
    name="demo",
    summary="A page on this machine: throw, play, detect, find faces, draw; with small trained runs.",
    commands={"demo": "plugins.demo.commands.demo:run"},
)
