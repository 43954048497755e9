"""Probabilities of exactly 0 or 1 that a parameter moves: the log-probability has no derivative there.

d/dp E f(x), x ~ Bernoulli(p), is f(1) - f(0) at p = 0, too, but no draw is ever 1. torch clamps p before it takes its
logarithm, so that all that differentiates a log-probability or a logit would return 0 without a word. A probability
that a softmax or a sigmoid has rounded to 0 is right: its own derivative is 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.distributions import ContinuousBernoulli, Distribution, Poisson

from framework import waiting
from framework.capabilities import alternatives
from framework.errors import ProgramError
from framework.gradients.distributions.noise_families import base_of, built_from_probs
from framework.gradients.distributions.refusal import families
from framework.recording.derivatives import carries_gradient

# Their derivative vanishes with the probability.
SQUASHING = ("SoftmaxBackward0", "SigmoidBackward0")


def refuse_boundary(estimator: str, site: str, distribution: Distribution) -> None:
    """Refuse a draw with a probability of 0 or 1, to rounding, whose derivative with respect to a parameter is not 0.

    Raises:
        ProgramError: such a draw; names it, the reason and estimators that serve it.
    """
    base = base_of(distribution)
    if isinstance(base, Poisson):
        parameter, what = base.rate, "a rate of 0"
    elif hasattr(base, "probs") and built_from_probs(base):
        parameter, what = base.probs, "a probability of 0 or 1"
    else:
        return
    if not carries_gradient(parameter) or not parameter.numel():
        return
    value = parameter.detach()
    if isinstance(base, Poisson):
        at_end = value <= 0
    else:
        # Where torch clamps it.
        rounding = torch.finfo(value.dtype).eps
        at_end = (value - 0.5).abs() >= 0.5 - rounding
    # torch clamps what a continuous Bernoulli draw is given, and with it the derivative that `moves` looks for.
    clamped = isinstance(base, ContinuousBernoulli)
    if not waiting.suspicious(("boundary", site), at_end):
        return
    if [*unsquashed(parameter)] if clamped else moves(parameter, at_end):
        kind = type(base).__name__
        raise ProgramError(
            f"draw '{site}' ~ {kind}: {what} that a parameter moves, where logits and log-probabilities have no "
            f"derivative and '{estimator}' would return 0: give it logits, or keep it away from there; "
            f"{alternatives([families(distribution)], without=estimator, boundary=True)}"
        )


def moves(parameter: Tensor, at_end: Tensor) -> bool:
    """Whether elements of a tensor have a derivative with respect to what it was computed from."""
    leaves = list(unsquashed(parameter))
    if not leaves:
        return False
    # Of random sign, lest contributions cancel; drawn without touching the run's random stream.
    generator = torch.Generator(parameter.device).manual_seed(0)
    signs = torch.rand(parameter.shape, generator=generator, device=parameter.device) - 0.5
    weights = torch.where(at_end, signs.to(parameter.dtype), 0.0)
    found = torch.autograd.grad(parameter, leaves, weights, retain_graph=True, allow_unused=True)
    limit = torch.finfo(parameter.dtype).eps ** 0.5
    return any(bool((slope.abs() > limit).any()) for slope in found if slope is not None)


def unsquashed(tensor: Tensor) -> Iterator[Tensor]:
    """The leaves that a tensor was computed from by other ways than through a softmax or a sigmoid."""
    if tensor.grad_fn is None:
        yield tensor
        return
    waiting: list[Node] = [tensor.grad_fn]
    seen: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node in seen or node.name() in SQUASHING:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting += [following for following, _ in node.next_functions if following is not None]
