"""Games against peers on this machine: cart-poles stepped, PPO's throughput, Pong's, and time to a solved CartPole-v1.

Run: python -m experiments.benchmarks.games [stepping] [throughput] [replay] [pong] [solving] [seeds=3]

`throughput`, `replay`, `pong` and `solving` compare with Stable-Baselines3 (the extra [benchmarks]) in turn: CartPole
at rl-zoo's settings, Pong with the same network, games, batch and epochs on both sides; `replay` is SAC and DQN at
rl-zoo's settings, the same networks, batches and updates for each step on both sides; below stand both in plain torch,
and the rate if there were nothing but an update's matrix products. Without the extra, only our own are printed.
All times are CPU seconds of the whole process, whose network has one thread: they depend little on what else the
machine does, and on an idle one they are the wall clock's. Pong is reported by both clocks, since its emulators have
threads of their own: CPU seconds count them all.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any
from unittest.mock import patch

import gymnasium
import numpy
import torch

from experiments.benchmarks.game_replay import replay
from experiments.benchmarks.game_runs import clocks, has_peer, rates, run_quietly
from experiments.benchmarks.pairs import ratio, report
from experiments.command import given_arguments
from framework.training.monitor import Monitor
from framework.training.trainer import Trainer
from plugins.games.environments.making import make_games
from plugins.games.task import Game

GAMES = 4096
# Mean return of the last 100 training episodes.
SOLVED = 475.0
# Rollouts of 8 x 128 steps, 16 updates from each.
PONG_STEPS = 6 * 1024
CARTPOLE_PPO = ("experiment=cartpole", "estimator=ppo")


def stepping(seeds: Sequence[int]) -> None:
    """Native torch cart-poles against gymnasium's own vector class, the same random actions."""
    games = make_games("cart_pole", GAMES)
    games.reset(0)
    vector: Any = gymnasium.make_vec("CartPole-v1", num_envs=GAMES)
    vector.reset(seed=0)
    actions = numpy.random.default_rng(0).integers(2, size=(64, GAMES))
    tensors, turn = torch.as_tensor(actions), [0, 0]

    @torch.no_grad()
    def ours() -> None:
        turn[0] += 1
        games.step(tensors[turn[0] % 64])

    def theirs() -> None:
        turn[1] += 1
        vector.step(actions[turn[1] % 64])

    measured = ratio(ours, theirs)
    report(f"cart-pole, {GAMES} games: torch / gymnasium's vector class", measured, 1.0)
    print(f"  {GAMES / measured[1]:,.0f} steps/s against {GAMES / measured[2]:,.0f}", flush=True)


def throughput(seeds: Sequence[int]) -> None:
    """Environment steps per second while PPO learns CartPole-v1."""
    own = statistics.median(
        by_framework([*CARTPOLE_PPO, "trainer.steps=1600"], seed)[0] for seed in seeds
    )
    print(f"PPO on CartPole-v1 while learning: {own:,.0f} environment steps/s", flush=True)
    other = [by_peer(20_000, seed, solved=False)[0] for seed in seeds] if has_peer() else []
    if other:
        peer = statistics.median(other)
        print(f"  Stable-Baselines3: {peer:,.0f}; {own / peer:.1f} times as many", flush=True)


def solving(seeds: Sequence[int]) -> None:
    """CPU seconds to a mean return of 475 over the last 100 training episodes of CartPole-v1."""
    # Imports count on neither side.
    by_framework([*CARTPOLE_PPO, "trainer.steps=1"], 0)
    for estimator in ("ppo", "rloo"):
        arguments = ["experiment=cartpole", f"estimator={estimator}"]
        times = [by_framework(arguments, seed)[1] for seed in seeds]
        print(f"CartPole-v1 solved by {estimator} after {times_in_words(times, seeds)}", flush=True)
    if has_peer():
        times = [by_peer(100_000, seed, solved=True)[1] for seed in seeds]
        print(f"  by Stable-Baselines3's PPO after {times_in_words(times, seeds)}", flush=True)


def pong(seeds: Sequence[int]) -> None:
    """Environment steps per second while PPO learns Pong, the published settings on both sides, in turn.

    Each has a process of its own, as it would have outside of a benchmark: what one does to the process does not
    make the other faster or slower.
    """
    pairs = [
        (apart(pong_by_framework, seed), apart(pong_by_peer, seed) if has_peer() else None)
        for seed in seeds
    ]
    for number, clock in enumerate(("CPU", "wall-clock")):
        own = [ours[number] for ours, _ in pairs]
        other = [theirs[number] for _, theirs in pairs if theirs is not None]
        middle = statistics.median(own)
        print(f"PPO on Pong while learning: {middle:,.0f} environment steps per {clock} second")
        if other:
            ratios = [ours / theirs for ours, theirs in zip(own, other, strict=True)]
            each = ", ".join(f"{r:.2f}" for r in ratios)
            print(
                f"  Stable-Baselines3: {statistics.median(other):,.0f}; {statistics.median(ratios):.2f} times as many "
                f"(seeds {list(seeds)}: {each})",
                flush=True,
            )


def apart(function: Callable[[int], tuple[float, float]], seed: int) -> tuple[float, float]:
    """What a function returns in a new process with one thread for its network."""
    with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return pool.submit(function, seed).result()


def pong_by_framework(seed: int) -> tuple[float, float]:
    """Environment steps per CPU and per wall-clock second of our PPO on Pong; the games are rollout beforehand."""
    updates = 16 * PONG_STEPS // (8 * 128)
    measured: list[tuple[float, float]] = []
    loop = Trainer.loop

    def timed(trainer: Trainer, monitor: Monitor) -> None:
        assert isinstance(trainer.task, Game)
        trainer.task.experience.vector(trainer.task.games)
        began = clocks()
        loop(trainer, monitor)
        measured.append(rates(trainer.task.log.steps, began))

    quick = ["experiment=pong", "task.evaluation_episodes=1", f"trainer.steps={updates}"]
    run_quietly(quick, seed, timed)
    return measured[0]


def pong_by_peer(seed: int) -> tuple[float, float]:
    """The same of Stable-Baselines3's PPO."""
    import ale_py
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    gymnasium.register_envs(ale_py)
    games = make_atari_env("PongNoFrameskip-v4", n_envs=8, seed=seed)
    model = PPO(
        "CnnPolicy",
        VecFrameStack(games, n_stack=4),
        n_steps=128,
        batch_size=256,
        n_epochs=4,
        ent_coef=0.01,
        learning_rate=lambda left: left * 2.5e-4,
        clip_range=lambda left: left * 0.1,
        device="cpu",
        seed=seed,
    )
    began = clocks()
    model.learn(PONG_STEPS)
    return rates(model.num_timesteps, began)


def by_framework(overrides: Sequence[str], seed: int) -> tuple[float, float | None]:
    """Environment steps per CPU second of training, and the CPU seconds from the command until it was solved."""
    began: list[float] = []
    loop = Trainer.loop

    def noted(trainer: Trainer, monitor: Monitor) -> None:
        began.append(time.process_time())
        loop(trainer, monitor)

    started = time.process_time()
    # So that the run counts CPU seconds.
    with patch("time.monotonic", time.process_time):
        rows = run_quietly(overrides, seed, noted)
    rows = [row for row in rows if "train/game_steps" in row]
    # Composing, checking, making the run folder.
    building = began[0] - started
    solved = [row["seconds"] for row in rows if row.get("train/return", 0.0) >= SOLVED]
    rate = rows[-1]["train/game_steps"] / rows[-1]["seconds"]
    return rate, building + solved[0] if solved else None


def by_peer(steps: int, seed: int, *, solved: bool) -> tuple[float, float | None]:
    """The same of Stable-Baselines3's PPO with rl-zoo's settings for CartPole-v1."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    model = PPO(
        "MlpPolicy",
        make_vec_env("CartPole-v1", n_envs=8, seed=seed),
        n_steps=32,
        batch_size=256,
        gae_lambda=0.8,
        gamma=0.98,
        n_epochs=20,
        ent_coef=0.0,
        learning_rate=lambda left: left * 1e-3,
        clip_range=lambda left: left * 0.2,
        device="cpu",
        seed=seed,
    )
    began = time.process_time()
    done: list[float] = []

    def goes_on(local: Any, _: Any) -> bool:
        """False once the last 100 episodes are good enough; looked at once a rollout."""
        returns = [episode["r"] for episode in model.ep_info_buffer or []]
        if (
            solved
            and local["n_steps"] == 0
            and len(returns) >= 100
            and statistics.mean(returns) >= SOLVED
        ):
            done.append(time.process_time() - began)
        return not done

    model.learn(steps, callback=goes_on)
    return model.num_timesteps / (time.process_time() - began), done[0] if done else None


def times_in_words(times: Sequence[float | None], seeds: Sequence[int]) -> str:
    """Median and all of some times."""
    each = ", ".join("never" if t is None else f"{t:.1f}" for t in times)
    middle = sorted(float("inf") if t is None else t for t in times)[len(times) // 2]
    return f"{middle:.1f} s (seeds {list(seeds)}: {each})"


def main() -> None:
    torch.set_num_threads(1)
    parts: dict[str, Callable[[Sequence[int]], None]]
    parts = {"stepping": stepping, "throughput": throughput, "replay": replay}
    parts |= {"pong": pong, "solving": solving}
    given = given_arguments(__doc__)
    count = next((a.removeprefix("seeds=") for a in given if a.startswith("seeds=")), "3")
    unknown = [a for a in given if a not in parts and not a.startswith("seeds=")]
    if unknown or not count.isdecimal() or not int(count):
        wrong = unknown[0] if unknown else f"seeds={count}"
        sys.exit(f"'{wrong}': expected {', '.join(parts)} or seeds=N")
    for name in [a for a in given if a in parts] or parts:
        parts[name](range(int(count)))


if __name__ == "__main__":
    main()
