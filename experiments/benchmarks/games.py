"""Games against peers on this machine: cart-poles stepped, PPO's throughput, Pong's, and time to a solved CartPole-v1.

Run: python -m experiments.benchmarks.games [stepping] [throughput] [pong] [solving] [seeds=3]

`throughput`, `pong` and `solving` compare with Stable-Baselines3 (the extra [benchmarks]) in turn: CartPole at rl-zoo's
settings, Pong with the same network, games, batch and epochs on both sides. Without it they tell our own numbers only.
All times are CPU seconds of the whole process, whose network has one thread: they depend little on what else the
machine does, and on an idle one they are the wall clock's. (Pong's emulators have threads of their own; all count.)
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gymnasium
import numpy
import torch

from experiments.benchmarks.pairs import ratio, report
from framework.commands import train
from framework.monitor import Monitor
from framework.trainer import Trainer
from plugins.games.environments.making import make_games

GAMES = 4096
SOLVED = 475.0  # mean return of the last 100 training episodes
CARTPOLE_PPO = ("experiment=cartpole", "estimator=ppo")


def stepping(seeds: Sequence[int]) -> None:
    """Native torch cart-poles against gymnasium's own vector class, the same random actions."""
    games = make_games("cart_pole", GAMES)
    games.reset(0)
    vector: Any = gymnasium.make_vec("CartPole-v1", num_envs=GAMES)
    vector.reset(seed=0)
    drawn = numpy.random.default_rng(0).integers(2, size=(64, GAMES))
    actions, turn = torch.as_tensor(drawn), [0, 0]

    @torch.no_grad()
    def ours() -> None:
        turn[0] += 1
        games.step(actions[turn[0] % 64])

    def theirs() -> None:
        turn[1] += 1
        vector.step(drawn[turn[1] % 64])

    found = ratio(ours, theirs)
    report(f"cart-pole, {GAMES} games: torch / gymnasium's vector class", found, 1.0)
    print(f"  {GAMES / found[1]:,.0f} steps/s against {GAMES / found[2]:,.0f}", flush=True)


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
    by_framework([*CARTPOLE_PPO, "trainer.steps=1"], 0)  # imports count on neither side
    for estimator in ("ppo", "rloo"):
        told_to = ["experiment=cartpole", f"estimator={estimator}"]
        times = [by_framework(told_to, seed)[1] for seed in seeds]
        print(f"CartPole-v1 solved by {estimator} after {told(times, seeds)}", flush=True)
    if has_peer():
        times = [by_peer(100_000, seed, solved=True)[1] for seed in seeds]
        print(f"  by Stable-Baselines3's PPO after {told(times, seeds)}", flush=True)


def pong(seeds: Sequence[int]) -> None:
    """Environment steps per second while PPO learns Pong, the published settings on both sides."""
    quick = ["experiment=pong", "task.evaluation_episodes=1", "trainer.steps=96"]
    own = statistics.median(by_framework(quick, seed)[0] for seed in seeds)
    print(f"PPO on Pong while learning: {own:,.0f} environment steps/s", flush=True)
    if has_peer():
        peer = statistics.median(pong_by_peer(6 * 1024, seed) for seed in seeds)
        print(f"  Stable-Baselines3: {peer:,.0f}; {own / peer:.2f} times as many", flush=True)


def pong_by_peer(steps: int, seed: int) -> float:
    """Environment steps per CPU second of Stable-Baselines3's PPO on Pong."""
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
    began = time.process_time()
    model.learn(steps)
    return float(model.num_timesteps / (time.process_time() - began))


def by_framework(overrides: Sequence[str], seed: int) -> tuple[float, float | None]:
    """Environment steps per CPU second of training, and the CPU seconds from the command until it was solved."""
    quiet = ["monitor.tensorboard=false", "monitor.progress=none", "task.video_frames=1"]
    quiet += ["trainer.evaluate_every=0", "trainer.log_every=1", "trainer.quality.every=0"]
    began: list[float] = []
    loop = Trainer.loop

    def noted(trainer: Trainer, monitor: Monitor) -> None:
        began.append(time.process_time())
        loop(trainer, monitor)

    processor = patch("time.monotonic", time.process_time)  # so that the run counts CPU seconds
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        run = Path(place, "run")
        started = time.process_time()
        with processor, patch.object(Trainer, "loop", noted):
            train.run([*overrides, *quiet, f"seed={seed}", f"hydra.run.dir={run}"])
        rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    rows = [row for row in rows if "train/game_steps" in row]
    building = began[0] - started  # composing, checking, making the run folder
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


def has_peer() -> bool:
    try:
        import stable_baselines3  # noqa: F401
    except ImportError:
        print("  Stable-Baselines3 is not installed: pip install 'diffobj[benchmarks]'", flush=True)
        return False
    return True


def told(times: Sequence[float | None], seeds: Sequence[int]) -> str:
    """Median and all of some times."""
    each = ", ".join("never" if t is None else f"{t:.1f}" for t in times)
    middle = sorted(float("inf") if t is None else t for t in times)[len(times) // 2]
    return f"{middle:.1f} s (seeds {list(seeds)}: {each})"


def main() -> None:
    torch.set_num_threads(1)
    parts: dict[str, Callable[[Sequence[int]], None]]
    parts = {"stepping": stepping, "throughput": throughput, "pong": pong, "solving": solving}
    count = next((a.removeprefix("seeds=") for a in sys.argv if a.startswith("seeds=")), "3")
    for name in [a for a in sys.argv[1:] if a in parts] or parts:
        parts[name](range(int(count)))


if __name__ == "__main__":
    main()
