"""Games: steps a second as they are stepped, as PPO and RLOO learn, and the seconds until a game is learned."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch

import framework
from experiments.benchmarks.gpu.figures import Figure, Machine
from plugins.games.environments.making import make_games
from plugins.games.environments.native.cart_pole import CartPole
from plugins.league.rules.connect_four import ConnectFour
from plugins.league.rules.tic_tac_toe import TicTacToe

# What is timed is training alone.
QUIET = (
    "trainer.quality.every=0",
    "trainer.threads=null",
    "monitor.tensorboard=false",
    "monitor.progress=none",
    "task.video_frames=1",
)
# 64 x 32 steps in the experiment's own settings; here many games with few steps each.
PPO = (
    "experiment=cartpole",
    "task=cartpole_torch",
    "estimator=ppo",
    "task.hidden=[64,64]",
    "task.rollout_steps=32",
)
RLOO = ("experiment=cartpole_torch", "task.hidden=[64,64]")
# Of each score: the settings with which it is to be reached, the mean return, and the most seconds.
SCORES = {
    "CartPole to 475, PPO": ((*PPO, "task.games=4096", "optimizer.learning_rate=0.01"), 475, 2.0),
    "bricks to 15, PPO": (("experiment=bricks", "task.games=4096"), 15, None),
}


def stepping(machine: Machine) -> Iterator[Figure]:
    """Native games under random actions."""
    sizes = machine.sizes
    for name in ("cart_pole", "bricks"):
        for count in sizes.games:
            games = make_games(name, count, machine.device)
            games.reset(0)
            choices = int(games.action_space.n)  # type: ignore[attr-defined]
            actions = torch.randint(choices, (64, count), device=machine.device)

            def step_all(games: object = games, actions: torch.Tensor = actions) -> None:
                for row in actions:
                    games.step(row)  # type: ignore[attr-defined]

            with torch.no_grad():
                seconds = machine.seconds(step_all)
            yield Figure(f"{name}, {count:,} games stepped", 64 * count / seconds, "steps/s")
    yield from stepped_by_kernel(machine)


def stepped_by_kernel(machine: Machine) -> Iterator[Figure]:
    """Cart-poles, 64 steps in one launch; nothing where there is no GPU, or no Triton."""
    if machine.device.type != "cuda" or find_spec("triton") is None:
        return
    from plugins.games.environments.native.cart_pole_kernel import play

    for count in machine.sizes.games:
        games = CartPole(count, machine.device)
        games.reset(0)
        actions = torch.randint(2, (64, count), device=machine.device)
        seconds = machine.seconds(partial(play, games, actions))
        bar = machine.bar(200e6) if count == machine.sizes.games[-1] else None
        name = f"cart_pole, {count:,} games, 64 steps by one kernel"
        yield Figure(name, 64 * count / seconds, "steps/s", bar)
    yield from boards_by_kernel(machine)


def boards_by_kernel(machine: Machine) -> Iterator[Figure]:
    """Boards of stones under random moves, 64 of each in one launch."""
    from plugins.league.rules.boards_kernel import play

    for kind in (ConnectFour, TicTacToe):
        for count in machine.sizes.games:
            boards = kind(count, machine.device)
            seconds = machine.seconds(partial(play, boards, 64))
            name = f"{kind.__name__}, {count:,} boards, 64 moves by one kernel"
            yield Figure(name, 64 * count / seconds, "moves/s")


def learning(machine: Machine) -> Iterator[Figure]:
    """Cart-pole while PPO and RLOO learn, a policy of 64 x 64."""
    sizes = machine.sizes
    ways = {
        "PPO": PPO,
        "PPO in bfloat16": (*PPO, "trainer.precision=bfloat16"),
        "PPO step by step": (*PPO, "task.graph=false"),
        "RLOO": RLOO,
    }
    for name, settings in ways.items():
        for count in sizes.games:
            rate, memory = trained_rate(machine, *settings, f"task.games={count}")
            wanted = name == "PPO" and count == sizes.games[-1]
            bar = machine.bar(40e6) if wanted else None
            yield Figure(f"cart-pole, {count:,} games while {name} learns", rate, "steps/s", bar)
            yield Figure(f"memory of it, {count:,} games, {name}", memory, "MiB")


def trained_rate(machine: Machine, *settings: str) -> tuple[float, float]:
    """Environment steps per second between the first and the last log of a training, and the most memory in MiB."""
    sizes = machine.sizes
    machine.most_memory()
    with tempfile.TemporaryDirectory() as place:
        run = framework.train(
            folder=Path(place, "run"),
            overrides=[
                *QUIET,
                *machine.small,
                *settings,
                f"trainer.device={machine.device.type}",
                f"trainer.steps={16 * sizes.steps}",
                f"trainer.seconds={sizes.seconds}",
                f"trainer.log_every={max(1, sizes.steps // 16)}",
                "trainer.evaluate_every=0",
                "task.evaluation_episodes=2",
            ],
        )
        played = [(r["seconds"], r["train/game_steps"]) for r in run.records if steps_in(r)]
    (began, before), (ended, after) = played[0], played[-1]
    return (after - before) / max(1e-9, ended - began), machine.most_memory()


def steps_in(record: dict[str, object]) -> bool:
    return "train/game_steps" in record


def solving(machine: Machine) -> Iterator[Figure]:
    """Seconds of training until the greedy return is high enough; evaluations are not counted."""
    for name, (settings, score, bar) in SCORES.items():
        with tempfile.TemporaryDirectory() as place:
            run = framework.train(
                folder=Path(place, "run"),
                overrides=[
                    *settings,
                    *QUIET,
                    *machine.small,
                    f"trainer.device={machine.device.type}",
                    # Evaluations are not counted, and there is one in 32 steps.
                    f"trainer.steps={4 * machine.sizes.steps}",
                    f"trainer.seconds={3 * machine.sizes.seconds}",
                    "trainer.evaluate_every=32",
                    f"trainer.early_stopping.target={score}",
                    f"task.evaluation_episodes={256 if machine.sizes.bars else 2}",
                ],
            )
            result = run.result
        reached = result["best"].get("return_mean", 0.0)
        yield Figure(f"{name}: greedy return", reached, "", machine.bar(float(score)))
        limit = None if bar is None else machine.bar(bar)
        yield Figure(f"{name}: training", result["seconds"], "s", limit, most=True)
