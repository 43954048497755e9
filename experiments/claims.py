"""The numbers that pages state, and how each is measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

from experiments import runs
from framework.plugin import ROOT

FOLDER = ROOT / "outputs" / "numbers"


@dataclass(frozen=True)
class Claim:
    """Numbers of a page.

    Attributes:
        page: its path.
        says: what stands there, `{}` for each number, `{}±{}` for one with its spread; line breaks count as spaces.
        measure: returns them, in the page's order and units.
        command: what measures them, where that takes more than a minute; empty: it does not.
    """

    page: str
    says: str
    measure: Callable[[], Sequence[float]]
    command: str = ""


@dataclass(frozen=True)
class Table:
    """A page's table that a study prints: row by row, by what stands in the first cell.

    Attributes:
        page: its path.
        study: the module that prints it, and its arguments.
        columns: the heads of the columns that are compared; times are not.
    """

    page: str
    study: str
    columns: tuple[str, ...]

    @property
    def command(self) -> str:
        return f"python -m {self.study}"

    def printed(self) -> str:
        """What the study prints; it goes on where it was stopped."""
        return subprocess.run(
            [sys.executable, "-m", *self.study.split()],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout


@cache
def metrics(name: str, *options: str) -> dict[str, float]:
    """The final metrics of a training, which is done once."""
    place = FOLDER / "_".join([name, *options]).replace("/", "_")
    place = runs.trained(place, f"experiment={name}", "monitor.tensorboard=false", *options)
    found: dict[str, float] = runs.result(place)["metrics"]
    return found


def trained(names: str, experiment: str, *options: str) -> list[float]:
    """Some final metrics of a training."""
    found = metrics(experiment, *options)
    return [found[name] for name in names.split()]


def millions(experiment: str, *models: str) -> list[float]:
    """The parameters of an experiment's models, in millions."""
    import framework
    from framework.config.validation import build

    chosen = [[f"task.model={model}"] for model in models] or [[]]
    tasks = [
        build("task", framework.compose(f"experiment={experiment}", *one).task) for one in chosen
    ]
    return [sum(p.numel() for p in task.parameters.values()) / 1e6 for task in tasks]


def farthest_off(name: str, aim: float, experiment: str, *estimators: str) -> list[float]:
    """Of several estimators' final metric, the one that is farthest from an aim."""
    found = [metrics(experiment, f"estimator={estimator}")[name] for estimator in estimators]
    return [max(found, key=lambda value: abs(value - aim))]


def angle_and_range(experiment: str, *options: str) -> list[float]:
    """The angle in degrees, and the mean range in metres, fouls included."""
    angle, objective = trained("angle_degrees objective", experiment, *options)
    return [angle, -objective]


def by_seed(names: str, experiment: str, *options: str) -> list[float]:
    """Some final metrics of three trainings: of each the seeds 0, 1 and 2."""
    found = [metrics(experiment, *options, f"seed={seed}") for seed in range(3)]
    return [each[name] for name in names.split() for each in found]


SEVEN = (
    "rloo",
    "reinforce",
    "reparameterisation",
    "exact",
    "finite_difference",
    "spsa",
    "evolution_strategies",
)
GAMES = "experiments/game_results/README.md"
FACES = "plugins/faces/README.md"
DETECTION = "plugins/detection/README.md"
TEACHING = "plugins/teaching/README.md"
CLAIMS: tuple[Claim | Table, ...] = (
    Claim(
        "plugins/javelin/README.md",
        "80 sin 2a metres: {} degrees, {} metres.",
        partial(trained, "angle_degrees range_metres", "javelin"),
    ),
    Claim(
        "README.md",
        "diffobj train experiment=javelin # {} degrees, {} metres",
        partial(trained, "angle_degrees range_metres", "javelin"),
    ),
    Claim(
        TEACHING,
        "ends at p = {}, q = {}, cost {}",
        partial(trained, "bite cook objective", "branch_and_loop"),
    ),
    Claim(
        TEACHING,
        "known in closed form, {}; training ends at {}.",
        partial(trained, "best_rate rate", "meta_gradient"),
    ),
    Claim(DETECTION, "3,200 steps of `nano` ({} M parameters)", partial(millions, "detection")),
    Claim(
        DETECTION,
        "and the four sides in each cell | {} M, {} M, {} M |",
        partial(millions, "detection", "nano", "tiny", "small"),
    ),
    Claim(
        DETECTION,
        "Hungarian matching, no non-maximum suppression | {} M, {} M |",
        partial(millions, "detection_set", "set_nano", "set_tiny"),
    ),
    Claim(
        DETECTION,
        "| `experiment=detection task.workers=0` (`nano`) | {} | {} | {} |",
        partial(trained, "AP AP50 AP75", "detection", "task.workers=0"),
        command="diffobj train experiment=detection task.workers=0",
    ),
    Claim(
        DETECTION,
        "| `experiment=detection task.model=aligned_nano task.workers=0` | {} | {} | {} |",
        partial(trained, "AP AP50 AP75", "detection", "task.model=aligned_nano", "task.workers=0"),
        command="diffobj train experiment=detection task.model=aligned_nano task.workers=0",
    ),
    Claim(
        DETECTION,
        "| `experiment=detection_set` | {} | {} | {} |",
        partial(trained, "AP AP50 AP75", "detection_set"),
        command="diffobj train experiment=detection_set",
    ),
    Claim(
        "README.md",
        "the angle that throws farthest: {} degrees, by any of seven estimators",
        partial(farthest_off, "angle_degrees", 45.0, "javelin", *SEVEN),
    ),
    *(
        Claim(
            "plugins/javelin/README.md",
            f"| `{estimator}` | {{}}° | {{}} m |",
            partial(angle_and_range, "javelin_windy", f"estimator={estimator}"),
        )
        for estimator in ("rloo", "reparameterisation")
    ),
    Claim(
        "docs/course/3_branches.md",
        "diffobj train experiment=javelin_windy estimator=rloo # compares throws: ends at {} degrees",
        partial(trained, "angle_degrees", "javelin_windy", "estimator=rloo"),
    ),
    Claim(
        GAMES,
        "| CartPole-v1, PPO | 500 | 500.0 (PPO, 100k) | {}±{}",
        partial(trained, "return_mean", "cartpole", "estimator=ppo"),
    ),
    Claim(
        TEACHING,
        "| rloo | {}±{} |",
        partial(
            trained, "negative_elbo", "digits_bernoulli", "estimator=rloo", "estimator.samples=4"
        ),
        command="diffobj train experiment=digits_bernoulli estimator=rloo estimator.samples=4",
    ),
    Claim(
        FACES,
        "| this network | {}, {}, {} (95 % over people",
        partial(by_seed, "eer", "faces_recognition", "trainer.precision=bfloat16"),
        command="diffobj train -m experiment=faces_recognition seed=0,1,2 trainer.precision=bfloat16",
    ),
    Claim(
        FACES,
        "| this network | {}, {}, {} | {}, {}, {} |",
        partial(by_seed, "AP50 AP", "faces"),
        command="diffobj train -m experiment=faces seed=0,1,2",
    ),
    *(
        Claim(
            "plugins/sketching/README.md",
            f"| `{name}`{rest} | {{}}",
            partial(trained, "objective", "sketch_stochastic", f"estimator={name}"),
            command=f"diffobj train experiment=sketch_stochastic estimator={name}",
        )
        for name, rest in (("exact", " | | 0"),)
    ),
    Table(
        "experiments/digits_estimators/README.md",
        "experiments.digits_estimators.study",
        ("learning rate 0.003", "learning rate 0.01"),
    ),
    Table(GAMES, "experiments.game_results.study", ("greedy", "sampled")),
    Table("experiments/face_losses/README.md", "experiments.face_losses.study", ("EER", "TAR")),
    Table("experiments/face_routes/README.md", "experiments.face_routes.study", ("AP50", "EER")),
    Table(
        "experiments/detection_reward/README.md",
        "experiments.detection_reward.study outputs/detection_start",
        ("reward", "AP"),
    ),
)
