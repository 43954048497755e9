"""REBAR and RELAX by name."""

from __future__ import annotations

from framework.capabilities import Capabilities
from framework.config.types import Count, NonNegative, Positive
from framework.gradients.control_variates.control_variate import ControlVariate


@Capabilities(
    draws=("Bernoulli", "OneHotCategorical", "Categorical"),
    evaluations="2n",
    costs="differentiable",
    one_sample_at_a_time=False,
    own_randomness=False,
    relaxed=True,
    bias="except where a cost jumps in a relaxed draw",
    automatic=True,
)
def rebar(
    *,
    samples: Count = 32,
    temperature: Positive = 0.5,
    eta: float = 1.0,
    learning_rate: NonNegative = 0.01,
) -> ControlVariate:
    """REBAR: the relaxed objective as control variate; eta and the temperature tuned for least variance."""
    return ControlVariate(
        "rebar",
        samples,
        relaxed=True,
        hidden=None,
        temperature=temperature,
        learning_rate=learning_rate,
        eta=eta,
    )


@Capabilities(
    draws=("Bernoulli", "OneHotCategorical", "Categorical", "Normal"),
    evaluations="n",
    one_sample_at_a_time=False,
)
def relax(
    *,
    samples: Count = 64,
    hidden: Count = 32,
    relaxed_cost: bool = False,
    temperature: Positive = 0.5,
    learning_rate: NonNegative = 0.01,
) -> ControlVariate:
    """RELAX: a network of the relaxed draws as control variate, for costs known only by value; LAX for Normal draws."""
    return ControlVariate(
        "relax",
        samples,
        relaxed=relaxed_cost,
        hidden=hidden,
        temperature=temperature,
        learning_rate=learning_rate,
    )
