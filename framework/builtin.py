"""What the core itself brings, in the same form as any plugin's manifest."""

from __future__ import annotations

from framework.plugin import Plugin

plugin = Plugin(
    name="framework",
    summary="The core: commands, estimators, optimisers and schedules.",
    commands={
        "train": "framework.commands.train:run",
        "evaluate": "framework.commands.evaluate:run",
        "predict": "framework.commands.predict:run",
        "compare": "framework.commands.compare:run",
        "plugins": "framework.commands.plugins:run",
        "check": "framework.commands.check:run",
        "new-plugin": "framework.commands.new_plugin:run",
    },
    estimators={
        "automatic": "framework.gradients.automatic:Automatic",
        "exact": "framework.gradients.exact:Exact",
        "reinforce": "framework.gradients.score_function:reinforce",
        "vimco": "framework.gradients.score_function:vimco",
        "rloo": "framework.gradients.score_function:rloo",
        "reparameterisation": "framework.gradients.reparameterisation:reparameterisation",
        "alpha_order": "framework.gradients.alpha_order:AlphaOrder",
        "gumbel": "framework.gradients.relaxation:gumbel",
        "straight_through": "framework.gradients.approximation:straight_through",
        "straight_through_gumbel": "framework.gradients.approximation:straight_through_gumbel",
        "gumbel_rao": "framework.gradients.approximation:gumbel_rao",
        "reinmax": "framework.gradients.approximation:reinmax",
        "arm": "framework.gradients.coupling:Arm",
        "disarm": "framework.gradients.coupling:Disarm",
        "measure_valued": "framework.gradients.coupling:MeasureValued",
        "rebar": "framework.gradients.control_variate:rebar",
        "relax": "framework.gradients.control_variate:relax",
        "finite_difference": "framework.gradients.numerical:FiniteDifference",
        "spsa": "framework.gradients.numerical:SPSA",
        "evolution_strategies": "framework.gradients.numerical:EvolutionStrategies",
        "a2c": "framework.gradients.actor_critic:A2C",
        "ppo": "framework.gradients.proximal:PPO",
        "vtrace": "framework.gradients.actor_critic:VTrace",
        "upgo": "framework.gradients.actor_critic:UPGO",
        "forward_gradient": "framework.gradients.forward:ForwardGradient",
    },
    rules={
        "score_function": "framework.gradients.score_function:ScoreFunction",
        "reparameterisation": "framework.gradients.reparameterisation:Reparameterisation",
        "gumbel": "framework.gradients.relaxation:Gumbel",
        "straight_through": "framework.gradients.approximation:StraightThrough",
        "straight_through_gumbel": "framework.gradients.approximation:StraightThroughGumbel",
        "gumbel_rao": "framework.gradients.approximation:GumbelRao",
        "reinmax": "framework.gradients.approximation:ReinMax",
    },
    optimizers={
        "adam": "framework.optimization:adam",
        "adamw": "framework.optimization:adamw",
        "sgd": "framework.optimization:sgd",
        "rmsprop": "framework.optimization:rmsprop",
    },
    schedulers={
        "constant": "framework.optimization:constant",
        "cosine": "framework.optimization:cosine",
        "linear": "framework.optimization:linear",
    },
)
