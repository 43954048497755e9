"""Advantages and targets of recorded steps, `[T, N]`: reward-to-go, GAE, TD(lambda), V-trace and UPGO.

With the error of one step,  delta_t = r_t + gamma V(s_{t+1}) - V(s_t),  all of them are one backward recurrence

    x_t = a_t + b_t x_{t+1}

                  a_t                b_t
    GAE           delta_t            gamma lambda                      (Schulman et al. 2016)
    TD(lambda)    GAE plus V(s_t)                                      (Sutton 1988)
    V-trace       rho_t delta_t      gamma lambda c_t                  (Espeholt et al. 2018)
    UPGO          delta_t            gamma if delta_{t+1} >= 0 else 0  (Vinyals et al. 2019)

Where an episode ended, b_t = 0: nothing of the next episode enters. What V(s_{t+1}) counts there depends on how it
ended. Terminated: 0, nothing follows. Truncated by a time limit: V of the last observation, since the game
would have gone on.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor


@dataclass(frozen=True)
class Transitions:
    """Recorded steps of N games, every tensor `[T, N]`; an episode may begin and end anywhere.

    Attributes:
        rewards: of each step.
        values: V(s_t), predicted from the observation before the step.
        next_values: V(s_{t+1}), predicted from what the step led to, before any reset: equal to the next row's
            `values` inside an episode.
        terminated: the game itself ended with this step.
        truncated: the episode was cut off after this step, though the game would have gone on.
        valid: false for rows that are no steps, such as a vector's resets.
    """

    rewards: Tensor
    values: Tensor
    next_values: Tensor
    terminated: Tensor
    truncated: Tensor
    valid: Tensor

    @property
    def continues(self) -> Tensor:
        """1 where the next row goes on with the same episode, else 0."""
        return (self.valid & ~(self.terminated | self.truncated)).to(self.rewards.dtype)

    def bootstrapped(self, discount: float) -> Tensor:
        """gamma V(s_{t+1}), 0 where the game was over."""
        return torch.where(self.terminated, 0.0, discount * self.next_values)

    def errors(self, discount: float) -> Tensor:
        """delta_t, 0 in rows that are no steps."""
        error = self.rewards + self.bootstrapped(discount) - self.values
        return torch.where(self.valid, error, 0.0)


def reward_to_go(steps: Transitions, discount: float = 1.0) -> Tensor:
    """The rewards from each step on, and V of the last observation where the rollout was cut off, `[T, N]`."""
    cut = 1 - steps.continues
    # The rollout ends here, and with it an episode that had not ended.
    cut[-1] = 1
    earned = steps.rewards + cut * steps.bootstrapped(discount)
    return backwards(torch.where(steps.valid, earned, 0.0), discount * steps.continues)


def gae(steps: Transitions, discount: float, gae_lambda: float) -> Tensor:
    """Generalised advantages `[T, N]`; 0 trusts the next value, 1 only the rewards."""
    if kernel := kernels_for(steps.rewards):
        advantages: Tensor = kernel.gae(steps, discount, gae_lambda)
        return advantages
    return backwards(steps.errors(discount), discount * gae_lambda * steps.continues)


def td_lambda(steps: Transitions, discount: float, gae_lambda: float) -> Tensor:
    """lambda-returns `[T, N]`, the targets that belong to `gae`."""
    return steps.values + gae(steps, discount, gae_lambda)


def vtrace(
    steps: Transitions,
    ratios: Tensor,
    discount: float,
    gae_lambda: float = 1.0,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Targets and advantages for steps that an older policy took.

    Args:
        ratios: `[T, N]`, the current policy's probability of each action over the older one's.
        gae_lambda: lambda.
        rho_bar, c_bar: the largest rho and c; 1 in the paper.

    Returns:
        the value targets v_t and the advantages rho_t (r_t + gamma v_{t+1} - V(s_t)), both `[T, N]`.
    """
    if kernel := kernels_for(steps.rewards):
        found: tuple[Tensor, Tensor] = kernel.vtrace(
            steps, ratios, discount, gae_lambda, rho_bar, c_bar
        )
        return found
    rho = ratios.clamp(max=rho_bar)
    carry = discount * gae_lambda * ratios.clamp(max=c_bar) * steps.continues
    corrections = backwards(rho * steps.errors(discount), carry)  # v_t - V(s_t)
    next_corrections = torch.cat([corrections[1:], torch.zeros_like(corrections[:1])])
    advantages = rho * (steps.errors(discount) + discount * steps.continues * next_corrections)
    return steps.values + corrections, advantages


def upgo(steps: Transitions, discount: float) -> Tensor:
    """Upgoing advantages `[T, N]`: follow the rewards as long as each next step beat its prediction."""
    if kernel := kernels_for(steps.rewards):
        advantages: Tensor = kernel.upgo(steps, discount)
        return advantages
    errors = steps.errors(discount)
    beaten = torch.cat([errors[1:] >= 0, torch.zeros_like(errors[:1], dtype=torch.bool)])
    return backwards(errors, discount * steps.continues * beaten)


@torch.no_grad()
def backwards(terms: Tensor, factors: Tensor) -> Tensor:
    """x_t = terms_t + factors_t x_{t+1} over the first axis, beginning at the end with 0; carries no gradient."""
    if kernel := kernels_for(terms):
        scanned: Tensor = kernel.backwards(terms, factors)
        return scanned
    result = torch.empty_like(terms)
    result_after = torch.zeros_like(terms[0])
    rows = zip(terms.unbind(), factors.unbind(), result.unbind(), strict=True)
    for term, factor, row in reversed(list(rows)):
        result_after = torch.addcmul(term, factor, result_after, out=row)
    return result


def kernels_for(terms: Tensor) -> ModuleType | None:
    """Triton's kernels where they serve: on a GPU, for steps of games."""
    if not (terms.is_cuda and terms.dim() == 2 and find_spec("triton")):
        return None
    from framework.gradients.policy_gradient import scan_kernel

    return scan_kernel
