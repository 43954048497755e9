"""What an estimator says of a draw that it cannot serve, and which estimators can."""

from __future__ import annotations

from torch.distributions import Distribution

from framework.errors import ProgramError
from framework.gradients.distributions.implicit import has_path
from framework.gradients.distributions.noise_families import base_of


def refuse(site: str, distribution: Distribution, estimator: str, serves: str) -> ProgramError:
    """The error of an estimator that cannot serve a draw, with those that can."""
    kind = type(base_of(distribution)).__name__
    return ProgramError(
        f"draw '{site}' ~ {kind}: {estimator} serves {serves}; estimators that can serve it: "
        f"{others(distribution, estimator)}"
    )


def others(distribution: Distribution, estimator: str) -> str:
    """The names of other estimators that can serve a draw."""
    particular = {
        "Bernoulli": "exact, arm, disarm, measure_valued, rebar, relax, ",
        "OneHotCategorical": "exact, measure_valued, rebar, relax, ",
        "Categorical": "exact, measure_valued, relax, ",
        "Normal": "reparameterisation, measure_valued, relax, ",
        "Poisson": "measure_valued, ",
    }
    finite = "exact, " if distribution.has_enumerate_support else ""
    fallback = "reparameterisation, " if has_path(distribution) else finite
    kind = type(base_of(distribution)).__name__
    choices = particular.get(kind, fallback) + "reinforce, rloo"
    return ", ".join(name for name in choices.split(", ") if name != estimator)
