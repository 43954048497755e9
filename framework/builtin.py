"""What the core itself brings, in the same form as any plugin's manifest."""

from __future__ import annotations

from framework.plugin import Plugin

plugin = Plugin(
    name="framework",
    summary="The core: estimators, optimisers and schedules.",
    estimators={
        "exact": "framework.gradients.exact:Exact",
        "reinforce": "framework.gradients.score_function:reinforce",
        "rloo": "framework.gradients.score_function:rloo",
        "reparameterisation": "framework.gradients.reparameterisation:reparameterisation",
        "arm": "framework.gradients.coupling:Arm",
        "disarm": "framework.gradients.coupling:Disarm",
        "measure_valued": "framework.gradients.coupling:MeasureValued",
        "rebar": "framework.gradients.control_variate:rebar",
        "relax": "framework.gradients.control_variate:relax",
        "finite_difference": "framework.gradients.numerical:FiniteDifference",
        "spsa": "framework.gradients.numerical:SPSA",
        "evolution_strategies": "framework.gradients.numerical:EvolutionStrategies",
    },
    rules={
        "score_function": "framework.gradients.score_function:ScoreFunction",
        "reparameterisation": "framework.gradients.reparameterisation:Reparameterisation",
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
