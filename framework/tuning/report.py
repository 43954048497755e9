"""What a study leaves besides its trials: a table, a picture, and the best settings as an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.atomic import write_atomically
from framework.config.composition import GLOBAL_PACKAGE, compose
from framework.tuning.space import Dimension
from framework.tuning.study_folder import Plan, StudyFolder
from framework.tuning.trials import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"finished": "tab:blue", "pruned": "tab:orange", "failed": "tab:red"}
# The groups of a configuration whose options are chosen by name.
GROUPS = ("task", "estimator", "optimizer", "scheduler")


def write(
    folder: StudyFolder,
    plan: Plan,
    trials: Sequence[Trial],
    best: Trial | None,
    importance: dict[str, float],
) -> None:
    """Write `study.md`, `study.png` and the best settings below `configs/`."""
    from framework.media import Image

    experiment = None if best is None else write_best(folder.path, plan, best)
    page = table(folder.path, plan, trials, best, importance, experiment)
    write_atomically(folder.path / "study.md", page.encode())
    if any(trial.value is not None for trial in trials):
        figure = picture(plan, trials, best, importance)
        Image.from_figure("study", figure).save(folder.path)


def write_best(folder: Path, plan: Plan, best: Trial) -> str:
    """Write the best trial's settings as an experiment that `diffobj train --config-dir` takes; returns its name.

    All settings are in it, so that it means the same wherever it is used.
    """
    from omegaconf import OmegaConf

    composed = compose([*plan.overrides, *best.overrides])
    name = f"{composed.config.experiment}_best"
    config: Any = OmegaConf.to_container(composed.config, resolve=False)
    del config["experiment"]
    if config["input"] is None:
        del config["input"]
    chosen = {group: composed.choices.get(group) for group in GROUPS}
    defaults = [{f"override /{group}": option} for group, option in chosen.items()]
    body = OmegaConf.to_yaml(OmegaConf.create({"defaults": [*defaults, "_self_"], **config}))
    told = f"# The best of a study: {plan.metric} {best.value:.6g}, trial {best.number}."
    text = f"{GLOBAL_PACKAGE}\n{told}\n{body}"
    write_atomically(folder / "configs" / "experiment" / f"{name}.yaml", text.encode())
    return name


def table(
    folder: Path,
    plan: Plan,
    trials: Sequence[Trial],
    best: Trial | None,
    importance: dict[str, float],
    experiment: str | None,
) -> str:
    """The study in Markdown: the best trial, all of them from the best to the worst, and what decides."""
    counts = {
        s: sum(t.state == s for t in trials) for s in ("finished", "pruned", "failed", "stopped")
    }
    ended = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    lines = [
        f"# {plan.experiment}: {len(trials)} trials by {plan.sampler}",
        "",
        f"{ended}. {plan.metric} on the validation split, {'less' if plan.mode == 'min' else 'more'} is better.",
        "",
    ]
    if best is not None:
        lines += [
            f"Best: {plan.metric} {best.value:.6g}, trial {best.number}: {' '.join(best.overrides)}",
            "",
            f"    diffobj train --config-dir {folder / 'configs'} experiment={experiment}",
            "",
        ]
    keys = [each.key for each in plan.space]
    heads = ["trial", plan.metric, *keys, "steps", "seconds", "state"]
    lines += [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(cells(trial, keys))} |" for trial in ranked(trials, plan.mode)]
    if importance:
        lines += ["", "What decides whether a trial is among the best quarter (PED-ANOVA):", ""]
        lines += ["| key | part |", "|---|---|"]
        lines += [f"| {key} | {part:.2f} |" for key, part in importance.items()]
    return "\n".join(lines) + "\n"


def ranked(trials: Sequence[Trial], mode: str) -> list[Trial]:
    """From the best to the worst: finished ones by their value, then pruned, failed and stopped ones by number."""
    states = ["finished", "pruned", "failed", "stopped"]
    sign = 1 if mode == "min" else -1

    def place(trial: Trial) -> tuple[int, float, int]:
        value = sign * (trial.value or 0.0) if trial.state == "finished" else 0.0
        return states.index(trial.state), value, trial.number

    return sorted(trials, key=place)


def cells(trial: Trial, keys: Sequence[str]) -> list[str]:
    """A trial's row."""
    tried = dict(override.split("=", 1) for override in trial.overrides)
    value = "" if trial.value is None else f"{trial.value:.6g}"
    state = f"failed: {trial.error}".replace("|", "\\|") if trial.state == "failed" else trial.state
    steps = "" if trial.step is None else f"{trial.step:,}"
    seconds = "" if trial.seconds is None else f"{trial.seconds:.1f}"
    values = [shortened(tried.get(key, "")) for key in keys]
    return [str(trial.number), value, *values, steps, seconds, state]


def shortened(value: str) -> str:
    """A number with four digits; anything else as it is."""
    try:
        return value if value.lstrip("-").isdecimal() else f"{float(value):.4g}"
    except ValueError:
        return value


def picture(
    plan: Plan, trials: Sequence[Trial], best: Trial | None, importance: dict[str, float]
) -> Any:
    """The trials in their order, what decides, and the metric over each key that was searched."""
    from matplotlib.figure import Figure

    columns = len(plan.space)
    figure = Figure(figsize=(max(10, 4 * columns), 7), layout="constrained", dpi=110)
    halves = figure.add_gridspec(2, 1)
    above = halves[0].subgridspec(1, 2, width_ratios=(2, 1))
    below = halves[1].subgridspec(1, columns)
    history(figure.add_subplot(above[0]), plan, trials)
    parts(figure.add_subplot(above[1]), importance)
    for place, each in enumerate(plan.space):
        over_key(figure.add_subplot(below[place]), plan, each, trials, best)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def history(axes: Axes, plan: Plan, trials: Sequence[Trial]) -> None:
    """The metric of each trial in their order, and the best one so far."""
    from matplotlib.ticker import MaxNLocator

    draw_trials(axes, [(trial.number, trial) for trial in trials])
    failed = [trial.number for trial in trials if trial.state == "failed"]
    for number in failed:
        axes.axvline(number, color=COLOURS["failed"], lw=0.8, ls=":")
    sign = 1 if plan.mode == "min" else -1
    numbers: list[int] = []
    leaders: list[float] = []
    for trial in trials:
        if trial.state == "finished" and trial.value is not None:
            numbers.append(trial.number)
            rivals = [trial.value, *leaders[-1:]]
            leaders.append(min(rivals, key=lambda value: sign * value))
    axes.step(numbers, leaders, where="post", color="0.4", lw=1.2, label="best so far")
    if failed:
        axes.plot([], [], color=COLOURS["failed"], lw=0.8, ls=":", label="failed")
    axes.set(xlabel="trial", ylabel=plan.metric)
    axes.set_title(f"{plan.experiment}, {plan.sampler}", loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, ncols=4, loc="lower right", bbox_to_anchor=(1, 1))
    within_sight(axes, plan, trials)


def draw_trials(axes: Axes, placed: Sequence[tuple[Any, Trial]]) -> None:
    """Trials as points at the given places, coloured by their state."""
    for state in ("finished", "pruned"):
        shown = [(x, t.value) for x, t in placed if t.state == state and t.value is not None]
        if shown:
            across, up = zip(*shown, strict=True)
            axes.scatter(across, up, s=22, color=COLOURS[state], label=state)


def within_sight(axes: Axes, plan: Plan, trials: Sequence[Trial]) -> None:
    """Let no few far worse trials press the others into a line: what is beyond is said to be there."""
    values = sorted(t.value for t in trials if t.value is not None)
    middle, spread = values[len(values) // 2], 0.0
    best, worst = (values[0], values[-1]) if plan.mode == "min" else (values[-1], values[0])
    spread = abs(middle - best)
    if spread == 0 or abs(worst - best) <= 6 * spread:
        return
    sign = 1 if plan.mode == "min" else -1
    end, margin = best + sign * 4 * spread, 0.2 * spread
    beyond = sum(sign * value > sign * end for value in values)
    low, high = sorted((best - sign * margin, end))
    axes.set_ylim(low, high)
    axes.annotate(
        f"{beyond} beyond",
        (0.99, 0.97 if sign == 1 else 0.03),
        xycoords="axes fraction",
        ha="right",
        va="top" if sign == 1 else "bottom",
        color="0.4",
    )


def parts(axes: Axes, importance: dict[str, float]) -> None:
    """How much each key decides."""
    axes.set_title("what decides (PED-ANOVA)")
    if not importance:
        axes.text(0.5, 0.5, "too few trials to say", ha="center", va="center", color="0.4")
        axes.set(xticks=[], yticks=[])
        return
    names = [key.removeprefix("optimizer.") for key in importance]
    axes.barh(names, list(importance.values()), color="0.6")
    axes.set_xlim(0, 1)
    axes.invert_yaxis()


def over_key(
    axes: Axes, plan: Plan, each: Dimension, trials: Sequence[Trial], best: Trial | None
) -> None:
    """The metric over what was tried of one key."""

    def tried(trial: Trial) -> Any:
        text = dict(o.split("=", 1) for o in trial.overrides)[each.key]
        return text if each.choices and not each.ordered else float(text)

    shown = [trial for trial in trials if trial.value is not None]
    if each.choices and not each.ordered:
        places = {choice: place for place, choice in enumerate(each.choices)}
        draw_trials(axes, [(places[tried(trial)], trial) for trial in shown])
        axes.set_xticks(range(len(places)), list(places), rotation=20 if len(places) > 4 else 0)
        axes.set_xlim(-0.5, len(places) - 0.5)
    else:
        draw_trials(axes, [(tried(trial), trial) for trial in shown])
        if each.log:
            axes.set_xscale("log")
    if best is not None and best.value is not None:
        at = places[tried(best)] if each.choices and not each.ordered else tried(best)
        axes.scatter([at], [best.value], s=110, facecolors="none", edgecolors="k", lw=1.2)
    axes.set(xlabel=each.key, ylabel=plan.metric)
    within_sight(axes, plan, trials)
