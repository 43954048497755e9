"""What the core itself brings, in the same form as any plugin's manifest."""

from __future__ import annotations

from framework.plugin import Plugin

ADVANTAGES = {"decay": "gae_lambda", "normalise": "normalise_advantages"}

plugin = Plugin(
    name="framework",
    summary="The core: commands, estimators, optimisers and schedules.",
    renamed={
        "estimators.a2c": ADVANTAGES,
        "estimators.ppo": {**ADVANTAGES, "largest_kl": "target_kl"},
        "estimators.upgo": ADVANTAGES,
        "estimators.vtrace": {**ADVANTAGES, "clip_error": "rho_bar", "clip_trace": "c_bar"},
        "estimators.reinforce": {"decay": "baseline_decay"},
        "estimators.alpha_order": {"decay": "memory_decay"},
        "estimators.exact": {"rest": "non_enumerable"},
    },
    commands={
        "train": "framework.commands.train:run",
        "evaluate": "framework.commands.evaluate:run",
        "predict": "framework.commands.predict:run",
        "compare": "framework.commands.compare:run",
        "tune": "framework.commands.tune:run",
        "runs": "framework.commands.runs:run",
        "script": "framework.commands.script:run",
        "plugins": "framework.commands.plugins:run",
        "check": "framework.commands.check:run",
        "new-plugin": "framework.commands.new_plugin:run",
    },
    estimators={
        "automatic": "framework.gradients.selection.automatic:Automatic",
        "exact": "framework.gradients.enumeration.exact:Exact",
        "reinforce": "framework.gradients.score_function:reinforce",
        "vimco": "framework.gradients.score_function:vimco",
        "rloo": "framework.gradients.score_function:rloo",
        "reparameterisation": "framework.gradients.pathwise.reparameterisation:reparameterisation",
        "alpha_order": "framework.gradients.pathwise.alpha_order:AlphaOrder",
        "gumbel": "framework.gradients.relaxation.gumbel_softmax:gumbel",
        "straight_through": "framework.gradients.relaxation.straight_through:straight_through",
        "straight_through_gumbel": "framework.gradients.relaxation.straight_through:straight_through_gumbel",
        "gumbel_rao": "framework.gradients.relaxation.straight_through:gumbel_rao",
        "reinmax": "framework.gradients.relaxation.straight_through:reinmax",
        "arm": "framework.gradients.coupled.arm:Arm",
        "disarm": "framework.gradients.coupled.arm:Disarm",
        "measure_valued": "framework.gradients.coupled.measure_valued:MeasureValued",
        "rebar": "framework.gradients.control_variates.rebar:rebar",
        "relax": "framework.gradients.control_variates.rebar:relax",
        "finite_difference": "framework.gradients.numerical:FiniteDifference",
        "spsa": "framework.gradients.numerical:SPSA",
        "evolution_strategies": "framework.gradients.numerical:EvolutionStrategies",
        "a2c": "framework.gradients.policy_gradient.actor_critic:A2C",
        "ppo": "framework.gradients.policy_gradient.ppo:PPO",
        "vtrace": "framework.gradients.policy_gradient.actor_critic:VTrace",
        "vtrace_upgo": "framework.gradients.policy_gradient.actor_critic:VTraceUPGO",
        "upgo": "framework.gradients.policy_gradient.actor_critic:UPGO",
        "sac": "framework.gradients.off_policy.sac:SAC",
        "td3": "framework.gradients.off_policy.td3:TD3",
        "dqn": "framework.gradients.off_policy.dqn:DQN",
        "forward_gradient": "framework.gradients.pathwise.forward_mode:ForwardGradient",
    },
    rules={
        "score_function": "framework.gradients.score_function:ScoreFunction",
        "reparameterisation": "framework.gradients.pathwise.reparameterisation:Reparameterisation",
        "gumbel": "framework.gradients.relaxation.gumbel_softmax:GumbelSoftmax",
        "straight_through": "framework.gradients.relaxation.straight_through:StraightThrough",
        "straight_through_gumbel": "framework.gradients.relaxation.straight_through:StraightThroughGumbel",
        "gumbel_rao": "framework.gradients.relaxation.straight_through:GumbelRao",
        "reinmax": "framework.gradients.relaxation.straight_through:ReinMax",
    },
    optimizers={
        "adam": "framework.training.updates.optimization:adam",
        "adamw": "framework.training.updates.optimization:adamw",
        "sgd": "framework.training.updates.optimization:sgd",
        "rmsprop": "framework.training.updates.optimization:rmsprop",
    },
    schedulers={
        "constant": "framework.training.updates.optimization:constant",
        "cosine": "framework.training.updates.optimization:cosine",
        "linear": "framework.training.updates.optimization:linear",
    },
)
