"""diffobj compare: one experiment by several estimators: diffobj compare experiment=javelin estimators=[rloo,spsa]

    diffobj compare experiment=NAME estimators=[a,b,c] [seeds=[0,1,2]] [key=value ...]
    diffobj compare runs=FOLDER [runs=FOLDER ...] [metric=NAME] [folder=PATH]

Writes outputs/compare/<experiment>/<time>/: comparison.md and comparison.json (final metrics, bias, variance, seconds),
comparison.png (the same with learning curves), and one run folder for each estimator and seed: TensorBoard opened on
the folder shows all of them, and the table and the picture beside. An estimator that cannot serve the task is named.
In Python: `framework.compare`, which takes a task object of your own, too, and `framework.compare_runs`.

With runs=FOLDER nothing is trained: the runs of a folder, a sweep or a study, told apart by what differs between their
settings, go into comparison.md, comparison.csv and comparison.png (mean and spread over seeds) in outputs/compare.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.arguments import as_distinct, as_names, as_path
from framework.atomic import write_atomically
from framework.commands.compare_runs import compare_runs
from framework.commands.main import keyed
from framework.config.schema import Settings
from framework.config.validation import validate
from framework.errors import UserError
from framework.given_task import copied, task_object
from framework.run import check_arguments, composed, train
from framework.training.assembly import make_components, require_extras
from framework.training.checkpoints.resume import warn
from framework.training.folders.records import read_records
from framework.training.together import own_torch_state

if TYPE_CHECKING:
    from framework.task import Task


@dataclass
class Row:
    """One estimator's part of the comparison.

    Attributes:
        refused: why it cannot serve the task, in one line; empty where it does.
        quality: bias, variance and cost at the initial parameters, named as in TensorBoard without "quality/".
        reference: what its bias was measured against.
        results: `result.json` of each seed's run.
        curves: (seconds, objective) of each seed's run.
    """

    estimator: str
    refused: str = ""
    quality: dict[str, float] = field(default_factory=dict)
    reference: str = ""
    results: list[dict[str, Any]] = field(default_factory=list)
    curves: list[list[tuple[float, float]]] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """Estimators compared; printed, it is the table.

    Attributes:
        folder: holds comparison.md, .json and .png, and the runs, `folder/ESTIMATOR/seed_N`.
        rows: one for each estimator, in the order in which they were asked for.
    """

    folder: Path
    rows: list[Row]

    def __str__(self) -> str:
        return (self.folder / "comparison.md").read_text(encoding="utf-8")


def run(arguments: Sequence[str]) -> int:
    """Compare, print the table and where it is."""
    if any(a.startswith("runs=") for a in arguments):
        return of_runs(arguments)
    listed = {a.partition("=")[0]: a.partition("=")[2] for a in arguments}
    overrides = [a for a in arguments if a.partition("=")[0] not in {"estimators", "seeds"}]
    found = compare(
        estimators=items(listed.get("estimators", "")),
        seeds=items(listed.get("seeds", "[0]")),
        overrides=overrides,
        progress=True,
    )
    print(found)
    print(
        f"look: tensorboard --logdir {found.folder}; comparison.md, .json and .png in\n{found.folder.resolve()}"
    )
    return 0


def of_runs(arguments: Sequence[str]) -> int:
    """Compare runs that are there, print the table and where it is."""
    # One option may be given several times.
    named = [a.partition("=")[2] for a in arguments if a.startswith("runs=")]
    folders = [
        folder
        for text in named
        for folder in ([text] if text and Path(text).exists() else items(text))
    ]
    given = keyed([a for a in arguments if not a.startswith("runs=")], ("metric", "folder"))
    found = compare_runs(folders, metric=given.get("metric"), folder=given.get("folder"))
    print(found)
    print(f"comparison.md, .csv and .png in\n{found.folder.resolve()}")
    return 0


def compare(
    experiment: str | Task | None = None,
    *,
    estimators: Sequence[str],
    seeds: Sequence[int | str] = (0,),
    overrides: Sequence[str] = (),
    folder: str | Path | None = None,
    progress: bool = False,
) -> Comparison:
    """Measure several estimators at the initial parameters, then train with each from each seed.

    Args:
        experiment: an experiment's name, or a task object of your own, of which each training takes a copy.
        overrides: "key=value" for all of them, as on the command line.
        folder: where everything is written; None: `outputs/compare/<experiment>/<time>`.
        progress: print what is being done.

    Raises:
        UserError: fewer than two estimators, a mistake in the settings, or a folder that holds something already.
    """
    own = task_object(experiment)
    check_arguments(overrides)
    if isinstance(estimators, str) or len(as_names("estimators", estimators, "rloo")) < 2:
        raise UserError("which estimators? diffobj compare experiment=NAME estimators=[rloo,spsa]")
    estimators = as_distinct("estimators", estimators, "rloo")
    seeds = as_distinct("seeds", seeds, 0)
    if any(a.startswith("estimator=") for a in overrides):
        raise UserError("'estimator' is what is compared: write estimators=[a,b]")
    given = [] if own is not None or experiment is None else [f"experiment={experiment}"]
    given += (
        overrides if folder is None else [*overrides, f"hydra.run.dir={as_path('folder', folder)}"]
    )
    settings = {name: settings_of(own, {"estimator": name}, given) for name in estimators}
    for seed in seeds:
        settings_of(own, {"seed": seed}, given)
    place = comparison_folder(own, given)
    if place.exists() and any(place.iterdir()):
        raise UserError(f"{place} holds something already; a comparison needs a folder of its own")
    job = Job(own, given, [str(seed) for seed in seeds], place, progress)
    rows: list[Row] = []
    with own_torch_state():
        for name in estimators:
            rows.append(job.row(name, settings[name]))
            # After each, so that an error in the next loses nothing.
            write(place, rows, settings[estimators[0]])
    show(place)
    return Comparison(place, rows)


def settings_of(own: Task | None, chosen: dict[str, Any], overrides: list[str]) -> Settings:
    """The validated settings of one choice."""
    settings = validate(composed(own, chosen, overrides).config, registered=own is None)
    require_extras(settings)
    return settings


def comparison_folder(own: Task | None, overrides: list[str]) -> Path:
    """The folder that hydra.run.dir names, else outputs/compare/<experiment>/<time>."""
    place = composed(own, {}, overrides).run_folder
    if any(override.startswith("hydra.run.dir=") for override in overrides):
        return place
    return place.parent.parent / "compare" / place.parent.name / place.name


@dataclass(frozen=True)
class Job:
    """What is compared, on what, and where."""

    own: Task | None
    overrides: list[str]
    seeds: list[str]
    folder: Path
    progress: bool

    def row(self, name: str, settings: Settings) -> Row:
        """Measure one estimator at the initial parameters, then train with it from each seed."""
        row = Row(name)
        self.say(f"{name}: measuring")
        try:
            row.quality, row.reference = measured(settings, copied(self.own))
            for seed in self.seeds:
                self.say(f"{name}: training with seed {seed}")
                place = self.folder / name / f"seed_{seed}"
                changes = [
                    *self.overrides,
                    f"estimator={name}",
                    f"seed={seed}",
                    f"hydra.run.dir={place}",
                ]
                row.results.append(train(copied(self.own), overrides=changes).result)
                row.curves.append(learning_curve(place / "metrics.jsonl"))
        except UserError as error:
            row.refused = str(error)
        return row

    def say(self, line: str) -> None:
        if self.progress:
            print(line, flush=True)


def items(text: str) -> list[str]:
    """`[a,b]` or `a,b` as a list of names."""
    return [item.strip() for item in text.strip("[]").split(",") if item.strip()]


def measured(settings: Settings, own: Task | None) -> tuple[dict[str, float], str]:
    """The estimator's figures at the task's initial parameters, and what it was compared with."""
    from framework.gradients.selection.comparison import measure_against, references
    from framework.randomness import key, seed_torch
    from framework.task import TrainingPlan
    from framework.training.trainer import to_device

    components = make_components(settings, own)
    task, program = components.task, components.task.program(components.estimator)
    task.begin(TrainingPlan(seed=settings.seed, steps=settings.trainer.steps))
    seed_torch(key(settings.seed, "compare"))
    batches = task.batches(program, key(settings.seed, "compare") % 2**31, 0)
    first = to_device(next(batches), components.device)

    # Recorded episodes are the randomness: each repeat has its own.
    def batch(number: int) -> Any:
        return (
            to_device(next(batches), components.device) if program.recorded_trajectories else first
        )

    name = settings.estimator.name
    against, stick = references(program, task.parameters, first, settings.seed)(
        name, components.estimator
    )
    found = measure_against(
        components.estimator,
        program,
        task.parameters,
        batch,
        against,
        stick,
        repeats=16,
        seed=settings.seed,
    )
    figures = found.scalars("quality")
    sources = [against.source] if against else []
    sources += [name for name in stick.along if name not in sources] if stick else []
    return (
        {tag.partition("/")[2]: value for tag, value in figures.items()},
        " and ".join(sources) or "none",
    )


def learning_curve(path: Path) -> list[tuple[float, float]]:
    """(seconds, objective) of a run's records."""
    return [
        (record["seconds"], record["train/objective"])
        for record in read_records(path, warn)
        if record.get("train/objective") is not None
    ]


def write(folder: Path, rows: list[Row], settings: Settings) -> None:
    """The table, the data and the picture."""
    from framework.media import Image

    data = json.dumps([vars(row) for row in rows], indent=2)
    write_atomically(folder / "comparison.json", data.encode())
    write_atomically(folder / "comparison.md", markdown(rows, settings).encode())
    Image.from_figure("comparison", picture(rows, settings)).save(folder)


def show(folder: Path) -> None:
    """The table and the picture in TensorBoard, beside the runs."""
    import numpy
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "comparison")) as writer:
        with Image.open(folder / "comparison.png") as image:
            writer.add_image("comparison", numpy.asarray(image), 0, dataformats="HWC")
        writer.add_text("comparison", (folder / "comparison.md").read_text(), 0)


def markdown(rows: list[Row], settings: Settings) -> str:
    """The comparison as a table: quality at the initial parameters, then what training reached."""
    metrics = next((list(r.results[0]["metrics"]) for r in rows if r.results), [])
    heads = [
        "estimator",
        "bias z",
        "bias (99 %)",
        "norm ratio",
        "cosine",
        "variance",
        "ms",
        "variance x s",
        "evaluations",
    ]
    heads += ["training s", *metrics, "measured against"]
    seeds = max(len(row.results) for row in rows)
    spread_over = f"{seeds} seeds each; mean ± sd over them" if seeds > 1 else "one seed each"
    lines = [
        f"# {settings.experiment}: estimators compared",
        "",
        "Quality at the initial parameters, each against the references that its row names. The bias interval is along "
        "the gradient, in parts of it, from two references neither of which is the estimator itself. "
        f"Then {settings.trainer.steps:,} steps from {spread_over}.",
        "",
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
    ]
    for row in rows:
        if row.refused:
            lines.append(f"| {row.estimator} | {row.refused} |" + " |" * (len(heads) - 2))
            continue
        cells = [row.estimator]
        cells.append(number(row.quality.get("bias_z")))
        cells.append(interval(row.quality))
        for name in ("norm_ratio", "cosine", "variance"):
            cells.append(number(row.quality.get(name)))
        cells.append(number(1e3 * row.quality["seconds"]))
        cells.append(number(row.quality.get("variance_times_seconds")))
        cells.append(f"{row.quality['evaluations']:.0f}")
        cells.append(spread([result["seconds"] for result in row.results]))
        cells += [spread([result["metrics"][name] for result in row.results]) for name in metrics]
        cells.append(row.reference)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def interval(quality: dict[str, float]) -> str:
    """Where the bias along the gradient lies, in per cent of the gradient."""
    if "bias_low" not in quality or "bias_high" not in quality:
        return ""
    return f"{quality['bias_low']:+.1%} to {quality['bias_high']:+.1%}"


def spread(values: list[float]) -> str:
    """A mean, with the standard deviation where there are several."""
    mean = f"{statistics.fmean(values):.4g}"
    return f"{mean} ± {statistics.stdev(values):.2g}" if len(values) > 1 else mean


def picture(rows: list[Row], settings: Settings) -> Any:
    """Bias, variance and cost of each estimator, and the learning curves over time."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    served = [row for row in rows if not row.refused]
    colours = {row.estimator: colormaps["tab10"](i % 10) for i, row in enumerate(served)}
    figure = Figure(figsize=(12, 6), layout="constrained", dpi=110)
    grid = figure.add_gridspec(2, 3)
    for place, (name, title) in enumerate(
        {"bias_z": "bias (standard errors)", "variance": "variance", "seconds": "seconds"}.items()
    ):
        axes = figure.add_subplot(grid[0, place])
        names = [row.estimator for row in served if row.quality.get(name)]
        values = [row.quality[name] for row in served if row.quality.get(name)]
        axes.barh(names, values, color=[colours[n] for n in names])
        axes.set_title(title)
        axes.invert_yaxis()
        if name == "bias_z":
            axes.axvline(4, color="0.5", ls=":")
        elif name == "variance" and values and max(values) > 10 * min(values):
            axes.set_xscale("log")
    axes = figure.add_subplot(grid[1, :])
    for row in served:
        for i, curve in enumerate(row.curves):
            label = row.estimator if i == 0 else None
            axes.plot(*zip(*curve, strict=True), color=colours[row.estimator], lw=1.3, label=label)
    axes.set(
        xlabel="seconds since the start of the run", ylabel="objective", title=settings.experiment
    )
    if axes.lines:
        axes.legend(frameon=False)
    for each in figure.axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure
