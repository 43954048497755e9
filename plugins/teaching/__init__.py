"""Teaching examples: small programs, each with an answer that can be checked, for every family of estimators."""

from framework.plugin import Plugin

plugin = Plugin(
    name="teaching",
    summary="Small programs to learn the estimators on: a coin, digits in bits, a loop, a learnt learning rate.",
    needs={"tasks.digits": "plugins.teaching.needs:digits"},
    tasks={
        "rebar_toy": "plugins.teaching.rebar_toy:RebarToy",
        "digits": "plugins.teaching.autoencoder:DigitsAutoencoder",
        "branch_and_loop": "plugins.teaching.branch_and_loop:BranchAndLoop",
        "meta_gradient": "plugins.teaching.meta_gradient:MetaGradient",
    },
)
