"""SAC and DQN by the fewest calls of torch that compute the same: the most that any framework could reach."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss, softplus

from experiments.benchmarks.game_runs import clocks, rates


def dqn_in_plain_torch(steps: int, seed: int) -> float:
    """Environment steps per CPU second of DQN by the fewest calls of torch's that compute the same."""
    torch.manual_seed(seed)

    def network() -> nn.Sequential:
        hidden = nn.Linear(4, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()
        return nn.Sequential(*hidden, nn.Linear(256, 2))

    judge, slow = network(), network()
    weights = list(judge.parameters())
    optimizer = torch.optim.Adam(weights, lr=0.0023, fused=True)
    seen, led_to = torch.zeros(2, 100_000, 4)
    taken, rewards = torch.zeros(100_000, dtype=torch.long), torch.zeros(100_000)
    goes_on = torch.zeros(100_000)

    def update(size: int) -> None:
        rows = torch.randint(size, (64,))
        with torch.no_grad():
            targets = rewards[rows] + 0.99 * goes_on[rows] * slow(led_to[rows]).amax(-1)
        values = judge(seen[rows]).gather(-1, taken[rows].unsqueeze(-1)).squeeze(-1)
        optimizer.zero_grad()
        smooth_l1_loss(values, targets).backward()
        nn.utils.clip_grad_norm_(weights, 10.0)
        optimizer.step()

    game: Any = gymnasium.make("CartPole-v1")
    began = clocks()
    observation = torch.from_numpy(game.reset(seed=seed)[0])
    for step in range(steps):
        epsilon = max(0.04, 1 - 0.96 * step / 8000)
        if torch.rand(()).item() < epsilon:
            action = int(torch.randint(2, ()))
        else:
            with torch.no_grad():
                action = int(judge(observation).argmax())
        following, reward, over, cut_off, _ = game.step(action)
        seen[step], taken[step], rewards[step] = observation, action, reward
        observation = torch.from_numpy(following)
        led_to[step], goes_on[step] = observation, not over
        if over or cut_off:
            observation = torch.from_numpy(game.reset()[0])
        if step >= 1000 and step % 256 == 255:
            slow.load_state_dict(judge.state_dict())
            for _ in range(128):
                update(step + 1)
    return rates(steps, began)[0]


def sac_in_plain_torch(steps: int, seed: int) -> float:
    """Environment steps per CPU second of SAC on Pendulum-v1, both critics side by side in each product."""
    torch.manual_seed(seed)

    def network(inputs: int, outputs: int) -> nn.Sequential:
        hidden = nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()
        return nn.Sequential(*hidden, nn.Linear(256, outputs))

    def twins() -> list[Tensor]:
        """Weights and biases of two critics' three layers."""
        layers = []
        for inputs, outputs in ((4, 256), (256, 256), (256, 1)):
            layers += [torch.randn(2, inputs, outputs) / math.sqrt(inputs)]
            layers += [torch.zeros(2, 1, outputs)]
        return layers

    def values(layers: list[Tensor], seen: Tensor, actions: Tensor) -> Tensor:
        """`[2, B]`."""
        x = torch.cat([seen, actions], -1).expand(2, -1, -1)
        x = torch.baddbmm(layers[1], x, layers[0]).relu()
        x = torch.baddbmm(layers[3], x, layers[2]).relu()
        return torch.baddbmm(layers[5], x, layers[4]).squeeze(-1)

    def drawn(seen: Tensor) -> tuple[Tensor, Tensor]:
        """Squashed actions and their log-probabilities."""
        mean, log_std = actor(seen).unbind(-1)
        log_std = log_std.clamp(-20, 2)
        noise = torch.randn_like(mean)
        raw = mean + log_std.exp() * noise
        slope = 2 * (math.log(2) - raw - softplus(-2 * raw))
        log_prob = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi) - slope
        return raw.tanh().unsqueeze(-1), log_prob

    actor, critics = network(3, 2), [layer.requires_grad_() for layer in twins()]
    slow = [layer.detach().clone() for layer in critics]
    log_alpha = torch.zeros((), requires_grad=True)
    policy = list(actor.parameters())
    optimizer = torch.optim.Adam([*policy, *critics, log_alpha], lr=0.001, fused=True)
    seen, led_to = torch.zeros(2, steps, 3)
    taken, rewards = torch.zeros(steps, 1), torch.zeros(steps)

    def update(size: int) -> None:
        rows = torch.randint(size, (256,))
        alpha = log_alpha.detach().exp()
        with torch.no_grad():
            ahead, surprise = drawn(led_to[rows])
            best = values(slow, led_to[rows], ahead).amin(0)
            targets = rewards[rows] + 0.99 * (best - alpha * surprise)
        optimizer.zero_grad()
        errors = values(critics, seen[rows], taken[rows]) - targets
        (0.5 * errors.square().mean(-1).sum()).backward(inputs=critics)
        action, surprise = drawn(seen[rows])
        loss = (alpha * surprise - values(critics, seen[rows], action).amin(0)).mean()
        loss.backward(inputs=policy)
        log_alpha.grad = -(surprise.detach() - 1).mean()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(slow, critics, 0.005)

    game: Any = gymnasium.make("Pendulum-v1")
    began = clocks()
    observation = torch.from_numpy(game.reset(seed=seed)[0])
    for step in range(steps):
        with torch.no_grad():
            action = drawn(observation.unsqueeze(0))[0][0]
        following, reward, _, cut_off, _ = game.step(2 * action.numpy())
        seen[step], taken[step], rewards[step] = observation, action, float(reward)
        led_to[step] = observation = torch.from_numpy(following)
        if cut_off:
            observation = torch.from_numpy(game.reset()[0])
        if step >= 100:
            update(step + 1)
    return rates(steps, began)[0]
