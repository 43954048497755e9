"""Draws made earlier: recorded steps of episodes, charged with the costs that follow them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical

from experiments.problems.problem import Context, Parameters, problem

EPISODES = 16
LOGITS = torch.tensor([0.4, -0.6])


def _steps() -> Tensor:
    """Two coins of each episode, thrown under `LOGITS`: `[2, 16]`."""
    thrown: Tensor = Bernoulli(logits=LOGITS).sample(torch.Size([EPISODES]))
    return thrown.T.contiguous()


def _return(p: dict[str, Tensor]) -> Tensor:
    q = p["logits"].sigmoid()
    return 3 * q[0] + 2 * q[1] - 4 * q[0] * q[1]


def _charge(context: Context, parameters: Parameters, batch: Tensor) -> None:
    context.observe("coin", Bernoulli(logits=parameters["logits"].unsqueeze(1)), batch)
    first, second = batch
    context.cost(torch.stack([3 * first, 2 * second - 4 * first * second]))


@problem("finite", {"logits": LOGITS}, _return, batch=_steps, recorded_trajectories=True)
def recorded_coins(context: Context, parameters: Parameters, batch: Tensor) -> None:
    """The second step's cost depends on the first step's coin."""
    _charge(context, parameters, batch)


@problem(
    "finite",
    {"logits": LOGITS, "value": [0.5, 0.2]},
    lambda p: _return(p) + 0 * p["value"].sum(),
    batch=_steps,
    recorded_trajectories=True,
)
def recorded_coins_with_predictions(
    context: Context, parameters: Parameters, batch: Tensor
) -> None:
    """With predicted returns, which actor-critic estimators need, learn, and are biased by."""
    _charge(context, parameters, batch)
    values = parameters["value"].unsqueeze(1).expand(2, EPISODES)
    ended = torch.zeros(2, EPISODES, dtype=torch.bool)
    ended[-1] = True
    cut = torch.zeros_like(ended)
    context.value(values, torch.zeros(2, EPISODES), terminated=ended, truncated=cut)


def _contexts() -> Tensor:
    """A context and the action taken in it, of each of 16 episodes of one step: `[1, 16, 2]`."""
    context = torch.randint(2, (EPISODES,))
    action = Categorical(logits=TABLE[context]).sample()
    return torch.stack([context, action], -1).unsqueeze(0)


TABLE = torch.tensor([[0.3, -0.2, 0.5], [0.0, 0.7, -0.4]])
REWARDS = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.0, -1.0]])


@problem(
    "finite",
    {"table": TABLE},
    lambda p: (p["table"].softmax(-1) * REWARDS).sum(-1).mean(),
    batch=_contexts,
    recorded_trajectories=True,
)
def contextual_bandit(context: Context, parameters: Parameters, batch: Tensor) -> None:
    where, action = batch[..., 0], batch[..., 1]
    context.observe("action", Categorical(logits=parameters["table"][where]), action)
    context.cost(REWARDS[where, action])


@problem(
    "finite",
    {"logit": 0.4},
    lambda p: 2 * p["logit"].sigmoid(),
    batch=lambda: Bernoulli(logits=torch.tensor([0.4, 0.4])).sample((EPISODES,)).T.contiguous(),
    recorded_trajectories=True,
)
def recorded_coins_of_which_one_is_masked(
    context: Context, parameters: Parameters, batch: Tensor
) -> None:
    """The first step has no draw: its value is noise and counts nothing."""
    mask = torch.tensor([[False], [True]]).expand(2, EPISODES)
    distribution = Bernoulli(logits=parameters["logit"].expand(2, EPISODES))
    context.observe("coin", distribution, batch, mask=mask)
    context.cost(torch.where(mask, 2 * batch, torch.zeros(())))
