"""Games learned from three seeds each: trains what is not there yet, prints the table, draws the learning curves.

    python -m experiments.game_results.study [NAME ...] [folder=FOLDER] [picture=PICTURE]

NAME: the rows to train, all by default; rows whose runs are there already are printed in any case. Runs are kept in
FOLDER (outputs/game_results by default), one folder for each row and seed, and are not repeated. Writes PICTURE.png
(`learning` by default) beside this file, a panel for each row that is there.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments.command import given_arguments
from experiments.runs import finished, records, result, trained
from framework.media import Image

SEEDS = (0, 1, 2)
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """One game: the arguments of `diffobj train`, and the mean return of greedy episodes to reach.

    `zoo` is what rl-zoo's page of trained agents gives for the same game, from one run, and the steps of that run.
    """

    title: str
    options: tuple[str, ...]
    bar: float
    zoo: str = "-"

    def place(self, folder: Path, name: str, seed: int) -> Path:
        return folder / name / f"seed_{seed}"


ROWS = {
    "cartpole": Row("CartPole-v1, RLOO", ("experiment=cartpole",), 500.0, "500.0 (PPO, 100k)"),
    "cartpole_ppo": Row(
        "CartPole-v1, PPO", ("experiment=cartpole", "estimator=ppo"), 500.0, "500.0 (PPO, 100k)"
    ),
    "cartpole_evolution_strategies": Row(
        "CartPole-v1, evolution strategies",
        ("experiment=cartpole", "estimator=evolution_strategies"),
        475.0,
        "500.0 (ARS, 50k)",
    ),
    "cartpole_dqn": Row(
        "CartPole-v1, DQN",
        ("experiment=cartpole", "estimator=dqn"),
        475.0,
        "500.0 (DQN, 50k)",
    ),
    "cartpole_memory": Row(
        "CartPole-v1, no velocities, GRU",
        ("experiment=cartpole_memory",),
        475.0,
        "500.0 (recurrent PPO, 100k)",
    ),
    "acrobot": Row("Acrobot-v1", ("experiment=acrobot",), -78.0, "-73.5 (PPO, 1M)"),
    "mountain_car": Row("MountainCar-v0", ("experiment=mountain_car",), -115.0, "-110.4 (PPO, 1M)"),
    "pendulum": Row("Pendulum-v1", ("experiment=pendulum",), -180.0, "-172.2 (PPO, 100k)"),
    "pendulum_sac": Row(
        "Pendulum-v1, SAC",
        ("experiment=pendulum", "estimator=sac"),
        -170.0,
        "-157.0 (SAC, 20k)",
    ),
    "pendulum_td3": Row(
        "Pendulum-v1, TD3",
        ("experiment=pendulum", "estimator=td3"),
        -170.0,
        "-151.9 (TD3, 20k)",
    ),
    "lunar_lander": Row(
        "LunarLander-v3", ("experiment=lunar_lander",), 240.0, "242.1 (PPO, 1M; -v2)"
    ),
    "lunar_lander_continuous": Row(
        "LunarLanderContinuous-v3",
        ("experiment=lunar_lander_continuous",),
        240.0,
        "270.9 (PPO, 1M; -v2)",
    ),
    "key_door": Row("Key and door", ("experiment=key_door",), 0.85),
    "snake": Row("Snake", ("experiment=snake",), 10.0),
    "bricks": Row("Bricks", ("experiment=bricks",), 15.0),
    "gold_rush": Row("Gold rush", ("experiment=gold_rush",), 30.0),
    "cartpole_smooth": Row(
        "Smooth cart-pole, reparameterisation", ("experiment=cartpole_smooth",), 99.0
    ),
}


def cell(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation over seeds, then each seed's."""
    each = ", ".join(f"{value:.{digits}f}" for value in values)
    return f"{statistics.fmean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f} ({each})"


def line(row: Row, places: Sequence[Path]) -> str:
    """A row of the table."""
    results = [result(place) for place in places]
    digits = 3 if abs(row.bar) < 1 else 1
    greedy, sampled = (
        [each["metrics"][metric] for each in results]
        for metric in ("return_mean", "return_stochastic")
    )
    steps = statistics.fmean(played(place)[-1]["train/game_steps"] for place in places)
    seconds = statistics.fmean(each["seconds"] for each in results)
    reached = "yes" if statistics.fmean(greedy) >= row.bar else "no"
    return (
        f"| {row.title} | {row.bar:g} | {row.zoo} | {cell(greedy, digits)} | {cell(sampled, digits)} | {reached} "
        f"| {steps / 1000:,.0f}k | {seconds:.0f} |"
    )


def played(place: Path) -> list[dict[str, Any]]:
    """What a run logged while it played."""
    return [row for row in records(place) if "train/return" in row]


def picture(done: dict[str, list[Path]]) -> Figure:
    """The mean return of the last 100 episodes over the steps played: a panel for each row, a line for each seed."""
    columns = min(4, len(done))
    lines = math.ceil(len(done) / columns)
    figure = Figure(figsize=(2.75 * columns, 2.6 * lines), layout="constrained", dpi=90)
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes in panels[len(done) :]:
        axes.axis("off")
    for axes, (name, places) in zip(panels, done.items(), strict=False):
        row = ROWS[name]
        for place, colour in zip(places, ("tab:blue", "tab:orange", "tab:green"), strict=True):
            points = [(r["train/game_steps"] / 1000, r["train/return"]) for r in played(place)]
            axes.plot(*zip(*points, strict=True), color=colour, lw=1.2)
        axes.axhline(row.bar, color="grey", lw=0.8, ls="--")
        axes.set_title(row.title, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("thousand steps of the game", fontsize=9)
    figure.supylabel("return, last 100 episodes", fontsize=9)
    return figure


def main(arguments: Sequence[str]) -> None:
    places = {"folder": "outputs/game_results", "picture": "learning"}
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    chosen = [argument for argument in arguments if "=" not in argument] or list(ROWS)
    for name in [name for name in given if name not in places] + [
        n for n in chosen if n not in ROWS
    ]:
        sys.exit(f"'{name}': expected {', '.join(ROWS)}, folder=FOLDER or picture=PICTURE")
    places |= given
    folder = Path(places["folder"])
    done: dict[str, list[Path]] = {}
    head = "| game | bar | rl-zoo | greedy return | sampled | reached | steps | seconds |"
    print(f"{head}\n|---|---|---|---|---|---|---|---|", flush=True)
    for name, row in ROWS.items():
        runs = [row.place(folder, name, seed) for seed in SEEDS]
        if name in chosen:
            for run, seed in zip(runs, SEEDS, strict=True):
                trained(run, *row.options, f"seed={seed}")
        if all(finished(run) for run in runs):
            done[name] = runs
            print(line(row, runs), flush=True)
    if done:
        Image.from_figure(places["picture"], picture(done)).save(HERE)


if __name__ == "__main__":
    main(given_arguments(__doc__))
