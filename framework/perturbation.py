"""Perturbed optimisers: E[f(x + sigma z)] in place of f(x), for a solver f whose own gradient is zero or undefined.

d/dx E[f(x + sigma z)] = E[f(x + sigma z) (-grad log q(z))^T] / sigma,    z ~ q

so that only f's values are needed: argmax, top-k, a sort, a shortest path, any solver (Berthet et al. 2020). For
Gaussian noise -grad log q(z) is z; for Gumbel noise it is 1 - exp(-z), and the perturbed argmax is softmax(x / sigma).
The mean of the other noisy values is subtracted, which leaves the expectation and removes most of the variance.

The gradient is that of box(log q) (f - mean), as in `gradients/surrogate/dice.py`: second derivatives and forward mode
come with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from framework.errors import ProgramError
from framework.gradients.distributions.noise import gumbel_noise
from framework.gradients.surrogate.dice import box
from framework.relaxed import smooth

Solver = Callable[[Tensor], Tensor]


def perturbed(
    function: Solver,
    *,
    sigma: float,
    samples: int = 16,
    noise: Literal["gaussian", "gumbel"] = "gaussian",
    axes: int = 1,
) -> Solver:
    """`function`, smoothed over noise of width `sigma` where a gradient flows, and itself elsewhere.

    Args:
        function: the solver: `[*leading, *problem]` -> `[*leading, *solution]` for any leading axes; called once with
            all noisy problems, without gradients.
        sigma: the noise's width in the units of the problem; -> 0: the solver itself, with an ever noisier gradient.
        samples: noisy problems for each problem, at least 2.
        noise: its kind.
        axes: how many trailing axes are one problem.

    Raises:
        ProgramError: sigma or samples out of range; when called, a solution without the problem's leading axes.
    """
    if not sigma > 0:
        raise ProgramError(f"perturbed: sigma = {sigma}, expected more than 0")
    if samples < 2:
        raise ProgramError(
            f"perturbed: samples = {samples}, expected 2 or more: each is compared with the others"
        )

    def solve(x: Tensor) -> Tensor:
        if not smooth(x, sigma):
            return function(x)
        draw = gumbel_noise if noise == "gumbel" else torch.randn_like
        moved = (x.detach() + sigma * draw(x.detach().expand(samples, *x.shape))).detach()
        with torch.no_grad():
            solved = function(moved).to(x.dtype)
        leading = moved.shape[: moved.dim() - axes]
        if solved.shape[: len(leading)] != leading:
            raise ProgramError(
                f"perturbed: the solver returned {list(solved.shape)} for {list(moved.shape)}; expected the "
                f"leading axes {list(leading)} of problems of {axes} axes (axes={axes})"
            )
        z = (moved - x) / sigma
        log_prob = -z - (-z).exp() if noise == "gumbel" else -0.5 * z * z
        # 0 in value.
        weight = box(log_prob.flatten(len(leading)).sum(-1)) - 1
        weight = weight.reshape(*leading, *[1] * (solved.dim() - len(leading)))
        others = (solved.sum(0) - solved) / (samples - 1)
        return solved.mean(0) + (weight * (solved - others)).mean(0)

    return solve
