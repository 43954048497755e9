"""NashConv over the training of four modes of self-play, three seeds each: trains what is not there yet.

    python -m experiments.league_results [NAME ...] [folder=FOLDER]

NAME: the rows to train, such as kuhn_league; all by default, and rows whose runs are there are printed in any case.
Runs are kept in FOLDER (outputs/league_results by default) and are not repeated. Prints each row's NashConv at the end,
from each seed, and its CPU seconds, and writes modes.png beside this file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

from experiments.command import given_arguments
from experiments.runs import finished, records, result, trained
from framework.media import Image

SEEDS = (0, 1, 2)
HERE = Path(__file__).parent
BARS = {"kuhn": 0.05, "leduc": 0.6, "matrix": 0.05}
MODES = ("self_play", "fictitious", "regularised", "league")
# What differs from the experiment's own settings, which are those of the regularised mode.
SETTINGS: dict[str, tuple[str, ...]] = {
    "self_play": (),
    "regularised": (),
    "fictitious": (
        *("task.snapshot_every=30", "task.opponents_at_once=64", "scheduler=constant"),
        *("task.boards=2048", "estimator.entropy_weight=0.01"),
    ),
    "league": (
        *("task.snapshot_every=10", "task.boards=512", "estimator.entropy_weight=0.1"),
        "scheduler=constant",
    ),
}
ROWS = {
    f"{game}_{mode}": (f"experiment={game}", f"task.mode={mode}", *SETTINGS[mode])
    for game in ("matrix", "kuhn", "leduc")
    for mode in MODES
}


def place(folder: Path, name: str, seed: int) -> Path:
    return folder / name / f"seed_{seed}"


def drawn(folder: Path) -> Figure:
    """A panel for each game, a line for each seed of a mode."""
    figure = Figure(figsize=(12, 3.6), layout="constrained", dpi=110)
    for axes, (game, bar) in zip(figure.subplots(1, len(BARS)), BARS.items(), strict=True):
        for mode, colour in zip(MODES, ("gray", "tab:blue", "tab:green", "tab:red"), strict=True):
            for seed in SEEDS:
                where = place(folder, f"{game}_{mode}", seed)
                if not finished(where):
                    continue
                points = [
                    (row["seconds"], row["validation/nash_conv"])
                    for row in records(where)
                    if "validation/nash_conv" in row
                ]
                if points:
                    label = mode.replace("_", "-") if seed == SEEDS[0] else None
                    axes.semilogy(*zip(*points, strict=True), color=colour, label=label, lw=1.2)
        axes.axhline(bar, color="black", ls=":", lw=1)
        axes.set(title=game, xlabel="seconds of training", ylabel="NashConv")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return figure


def main() -> None:
    given = given_arguments(__doc__)
    folder = Path("outputs/league_results")
    names = [argument for argument in given if not argument.startswith("folder=")]
    for argument in given:
        if argument.startswith("folder="):
            folder = Path(argument.removeprefix("folder=")).expanduser()
    if unknown := [name for name in names if name not in ROWS]:
        sys.exit(f"'{unknown[0]}': no row; choices: {', '.join(ROWS)}")
    for name in names or ROWS:
        for seed in SEEDS:
            trained(place(folder, name, seed), *ROWS[name], f"seed={seed}")
    for name in ROWS:
        places = [place(folder, name, seed) for seed in SEEDS]
        found = [result(where) for where in places if finished(where)]
        if found:
            values = ", ".join(f"{row['metrics']['nash_conv']:.3f}" for row in found)
            seconds = max(row["seconds"] for row in found)
            print(f"{name:20} {values:24} {seconds:6.0f} s")
    Image.from_figure("modes", drawn(folder)).save(HERE)


if __name__ == "__main__":
    main()
