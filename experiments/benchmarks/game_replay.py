"""SAC and DQN beside Stable-Baselines3's, and what no code around the same updates could fall below.

Two floors stand beside each ratio. The matrix products of an update are counted as it makes them, and timed alone. Both
are written once more in plain torch (`game_plain`): no framework, no checkpoints, no statistics.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from experiments.benchmarks.game_plain import dqn_in_plain_torch, sac_in_plain_torch
from experiments.benchmarks.game_runs import clocks, has_peer, rates, run_quietly
from framework.training.monitor import Monitor
from framework.training.trainer import Trainer
from plugins.games.task import Game

PENDULUM_SAC = (
    *("task=pendulum", "task.critic=action_value", "task.continuous=squashed", "task.games=1"),
    *("task.state_dependent_std=true", "task.activation=relu", "task.hidden=[256, 256]"),
    *("task.reward_scale=1", "task.rollout_steps=1", "trainer.threads=1"),
    *("estimator=sac", "estimator.warmup_steps=100"),
)
# Products of torch's, and where their factors begin among the arguments.
FACTORS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}
CARTPOLE_DQN = (
    *("task=cartpole", "task.critic=action_value", "task.activation=relu"),
    *("task.hidden=[256, 256]", "task.games=1", "trainer.threads=1", "trainer.clip_norm=10"),
    *("estimator=dqn", "estimator.batch_size=64", "estimator.steps_per_update=2"),
    *("estimator.double=false", "task.rollout_steps=256"),
    *("estimator.tau=1", "estimator.target_every=128", "estimator.epsilon_steps=8000"),
    *("estimator.final_epsilon=0.04", "optimizer.learning_rate=0.0023", "scheduler=linear"),
)


@dataclass(frozen=True)
class Side:
    """One comparison: our options, the updates we make and the steps that the peer takes, and who else does the same.

    Attributes:
        steps_per_update: environment steps for each update.
        plain: the same in plain torch; None where it is not written.
    """

    options: Sequence[str]
    updates: int
    steps: int
    peer: Callable[[int, int], float]
    steps_per_update: int
    plain: Callable[[int, int], float] | None = None


def replay(seeds: Sequence[int]) -> None:
    """Environment steps per second while SAC learns Pendulum-v1 and DQN CartPole-v1, an update every step or second."""
    sides = {
        "SAC on Pendulum-v1": Side(PENDULUM_SAC, 1000, 1100, sac_by_peer, 1, sac_in_plain_torch),
        "DQN on CartPole-v1": Side(CARTPOLE_DQN, 4000, 9000, dqn_by_peer, 2, dqn_in_plain_torch),
    }
    for name, side in sides.items():
        own, peer, plain = [], [], []
        products: list[Product] = []
        for seed in seeds:
            rate, products = replay_rate([*side.options, f"trainer.steps={side.updates}"], seed)
            own.append(rate)
            if has_peer():
                peer.append(side.peer(side.steps, seed))
            if side.plain is not None:
                plain.append(side.plain(side.steps, seed))
        print(f"{name} while learning: {statistics.median(own):,.0f} environment steps/s")
        if peer:
            beside("Stable-Baselines3", own, peer)
        if plain:
            beside("plain torch", own, plain)
        seconds, operations = seconds_of(products), sum(p.operations for p in products)
        print(
            f"  the {len(products)} matrix products of an update alone, {operations / 1e9:.2f} GFLOP at "
            f"{operations / seconds / 1e9:.0f} GFLOP/s: {side.steps_per_update / seconds:,.0f}",
            flush=True,
        )


def beside(name: str, own: Sequence[float], other: Sequence[float]) -> None:
    """One line: another's rate, and how many times ours is as high in each pair."""
    ratios = [ours / theirs for ours, theirs in zip(own, other, strict=True)]
    each = ", ".join(f"{r:.2f}" for r in ratios)
    print(
        f"  {name}: {statistics.median(other):,.0f}; {statistics.median(ratios):.2f} times as many ({each})"
    )


def replay_rate(overrides: Sequence[str], seed: int) -> tuple[float, list[Product]]:
    """Environment steps per CPU second of our training from a replay buffer, and the products of one more update."""
    measured: list[float] = []
    counted = Products()
    loop = Trainer.loop

    def timed(trainer: Trainer, monitor: Monitor) -> None:
        assert isinstance(trainer.task, Game)
        assert trainer.task.replaying is not None
        began = clocks()
        loop(trainer, monitor)
        measured.append(rates(trainer.task.replaying.steps, began)[0])
        with counted:
            trainer.estimator.backward(trainer.program, trainer.parameters, trainer.batch)

    run_quietly([*overrides, "task.evaluation_episodes=1"], seed, timed, log_every=100)
    return measured[0], counted.found


@dataclass(frozen=True)
class Product:
    """`count` products of `[rows, inner]` and `[inner, columns]`."""

    count: int
    rows: int
    inner: int
    columns: int

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.count * self.rows * self.inner * self.columns


class Products(TorchDispatchMode):
    """Takes down every matrix product that is computed, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Product] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in FACTORS:
            left, right = args[FACTORS[name] :][:2]
            *many, rows, inner = left.shape
            self.found.append(Product(math.prod(many), rows, inner, right.shape[-1]))
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def seconds_of(products: Sequence[Product], seconds: float = 1.0) -> float:
    """The CPU seconds that these products take, one after the other, and nothing else."""
    factors = [
        [torch.randn(p.count, *shape) for shape in ((p.rows, p.inner), (p.inner, p.columns))]
        for p in products
    ]
    places = [torch.bmm(*pair) for pair in factors]
    rounds, began = 0, time.process_time()
    while time.process_time() - began < seconds:
        for (left, right), place in zip(factors, places, strict=True):
            torch.bmm(left, right, out=place)
        rounds += 1
    return (time.process_time() - began) / rounds


def sac_by_peer(steps: int, seed: int) -> float:
    """Environment steps per CPU second of Stable-Baselines3's SAC."""
    from stable_baselines3 import SAC
    from stable_baselines3.common.env_util import make_vec_env

    games = make_vec_env("Pendulum-v1", n_envs=1, seed=seed)
    model = SAC(
        "MlpPolicy", games, learning_rate=1e-3, learning_starts=100, device="cpu", seed=seed
    )
    began = clocks()
    model.learn(steps)
    return rates(model.num_timesteps, began)[0]


def dqn_by_peer(steps: int, seed: int) -> float:
    """Environment steps per CPU second of Stable-Baselines3's DQN, one update every second step."""
    from stable_baselines3 import DQN
    from stable_baselines3.common.env_util import make_vec_env

    model = DQN(
        "MlpPolicy",
        make_vec_env("CartPole-v1", n_envs=1, seed=seed),
        learning_rate=2.3e-3,
        batch_size=64,
        buffer_size=100_000,
        learning_starts=1000,
        target_update_interval=10,
        train_freq=256,
        gradient_steps=128,
        exploration_fraction=0.16,
        exploration_final_eps=0.04,
        policy_kwargs={"net_arch": [256, 256]},
        device="cpu",
        seed=seed,
    )
    began = clocks()
    model.learn(steps)
    return rates(model.num_timesteps, began)[0]
