"""NashConv over the training of four modes of self-play, three seeds each: trains what is not there yet.

    python -m experiments.league_results [NAME ...] [folder=FOLDER]

NAME: the rows to train, such as kuhn_league; all by default, and rows whose runs are there are printed in any case.
Runs are kept in FOLDER (outputs/league_results by default) and are not repeated. Prints each row's NashConv at the end,
from each seed, and the longest of their times by the clock, and writes modes.png beside this file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from experiments.command import given_arguments
from experiments.runs import finished, records, result, trained
from framework.media import Image

SEEDS = (0, 1, 2)
HERE = Path(__file__).parent
BARS = {"matrix": 0.05, "kuhn": 0.05, "leduc": 0.6}
COLOURS = {
    "self_play": "gray",
    "fictitious": "tab:blue",
    "regularised": "tab:green",
    "league": "tab:red",
}
NASH_CONV = "evaluation/nash_conv"
# What is judged is not an average of parameters but the last policy, or a mixture of earlier ones.
PLAIN = ("scheduler=constant", "trainer.ema=null")
# What differs from the experiment's own settings, which are those of the regularised mode.
SETTINGS: dict[str, tuple[str, ...]] = {
    "self_play": PLAIN,
    # Stochastic fictitious play (Fudenberg and Levine 1998): each response begins again and is softened by the entropy,
    # whose weight is a temperature in units of payoffs as long as advantages are not scaled.
    "fictitious": (
        *PLAIN,
        *("task.snapshot_every=12", "task.opponents_at_once=16", "optimizer.learning_rate=0.02"),
        *("estimator.epochs=4", "estimator.minibatches=2"),
        *("estimator.entropy_weight=0.05", "estimator.normalise_advantages=false"),
    ),
    "regularised": (),
    "league": (
        *PLAIN,
        *("task.snapshot_every=10", "task.boards=512", "estimator.entropy_weight=0.1"),
    ),
}
STEPS = {
    "matrix": {"self_play": 300, "fictitious": 28800, "regularised": 1200, "league": 1000},
    "kuhn": {"self_play": 400, "fictitious": 19200, "regularised": 1000, "league": 1000},
    "leduc": {"fictitious": 9600},
}
# Of one row: payoffs of Leduc are larger and its responses longer, a response to one choice has few decisions.
MORE = {
    "matrix_fictitious": ("task.rollout_steps=4",),
    "leduc_fictitious": (
        *("task.snapshot_every=24", "task.opponents_at_once=8", "optimizer.learning_rate=0.01"),
        *("estimator.clip=0.2", "estimator.entropy_weight=0.2"),
    ),
}
ROWS = {
    f"{game}_{mode}": (
        *(f"experiment={game}", f"task.mode={mode}", f"trainer.steps={steps}", *SETTINGS[mode]),
        *(f"trainer.evaluate_every={max(20, steps // 30)}", "trainer.log_every=20"),
        *MORE.get(f"{game}_{mode}", ()),
    )
    for game, modes in STEPS.items()
    for mode, steps in modes.items()
} | {"leduc_regularised": ("experiment=leduc",)}


def place(folder: Path, name: str, seed: int) -> Path:
    return folder / name / f"seed_{seed}"


def measured(where: Path) -> list[tuple[float, float]]:
    """The millions of decisions that a run's learners had made by each evaluation, and its NashConv then."""
    rows, decisions = records(where), {0: 0.0}
    decisions |= {r["step"]: r["train/game_steps"] for r in rows if "train/game_steps" in r}
    found = [(row["step"], row[NASH_CONV]) for row in rows if NASH_CONV in row]
    latest = [max(number for number in decisions if number <= step) for step, _ in found]
    return [(decisions[n] / 1e6, value) for n, (_, value) in zip(latest, found, strict=True)]


def drawn(folder: Path) -> Figure:
    """A panel for each game, a line for each seed of a mode."""
    figure = Figure(figsize=(12, 3.6), layout="constrained", dpi=110)
    for axes, (game, bar) in zip(figure.subplots(1, len(BARS)), BARS.items(), strict=True):
        for mode, colour in COLOURS.items():
            places = [place(folder, f"{game}_{mode}", seed) for seed in SEEDS]
            for number, where in enumerate(filter(finished, places)):
                label = None if number else mode.replace("_", "-")
                points = zip(*measured(where), strict=True)
                axes.loglog(*points, color=colour, label=label, lw=1.2)
        axes.axhline(bar, color="black", ls=":", lw=1)
        axes.set(title=game, xlabel="decisions of all learners, in millions", ylabel="NashConv")
        # Less than a decade has labels that lie over one another.
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
        if axes.lines[:-1]:
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
