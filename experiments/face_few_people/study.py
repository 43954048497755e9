"""A folder of few people: the network, whitened descriptors and both, over three seeds: prints the table.

    python -m experiments.face_few_people.study PEOPLE [FOLDER]

PEOPLE has a folder of pictures for each person, such as the stand-in of `tests/plugins/faces/stand_in.py`. Trains
`experiment=faces_recognition` on it in FOLDER (outputs/face_few_people by default), once for each recipe and seed; what
is there already is not repeated. Each seed has other people to test on, the same for every recipe.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from experiments.command import given_arguments
from experiments.face_few_people.self_supervision import started_by_pictures
from experiments.runs import trained
from framework import load
from plugins.faces.evaluation.verification import verification
from plugins.faces.models.descriptors import DESCRIPTORS, described
from plugins.faces.models.networks import unit
from plugins.faces.models.whitened import grey_of
from plugins.faces.tasks.recognition import Recognition

SEEDS = (0, 1, 2)
STEPS, PRECISION = 60, "bfloat16"
SIZE = (f"trainer.steps={STEPS}", f"trainer.precision={PRECISION}", "monitor.tensorboard=false")
# How networks are trained, by name; beside the first one stand the rows without a network.
FIRST = "network"
RECIPES: Mapping[str, tuple[str, ...]] = {
    FIRST: (),
    "network beside 100 synthetic people": ("task.data.extra_people=100",),
    "network with dropout 0.5": ("task.network.dropout=0.5",),
}
# Trained by names after a start by pictures alone.
STARTED = "network after self-supervision"
NETWORK, GRADIENTS, PATTERNS, PIXELS = (
    "network_alone_",
    "whitened_gradients_",
    "whitened_patterns_",
    "whitened_pixels_",
)
# Of the network's cosine where a descriptor's is 1: as the default has it for 25 people.
WEIGHT = 25 / 70
# Which parts of a run's embeddings stand beside each other; those without a network are of the first recipe alone.
PARTS: Mapping[str, tuple[str, ...]] = {
    "alone": (NETWORK,),
    "and gradients": (NETWORK, GRADIENTS),
    "and patterns": (NETWORK, PATTERNS),
    "and gradients and patterns": (NETWORK, GRADIENTS, PATTERNS),
    "and gradients, patterns and pixels": (NETWORK, GRADIENTS, PATTERNS, PIXELS),
}
BASELINES: Mapping[str, tuple[str, ...]] = {
    "whitened gradients and patterns": (GRADIENTS, PATTERNS),
    "whitened patterns": (PATTERNS,),
    "whitened gradients": (GRADIENTS,),
    "whitened pixels": (PIXELS,),
    "gradients, not whitened": ("plain_gradients_",),
    "patterns, not whitened": ("plain_patterns_",),
    "pixels, not whitened": ("plain_pixels_",),
    "raw pixels": ("raw_pixels_",),
    "evened pixels": ("even_pixels_",),
    "the network with random weights": ("random_network_",),
}
FARS = ("tar_at_far_0.01", "tar_at_far_0.001")


Parts = tuple[dict[str, Tensor], Tensor]


def embeddings(task: Recognition, seed: int) -> Parts:
    """The embeddings of the people a task is tested on, by part, and who they are."""
    crops = task.people.evaluated(seed, "test")
    with task.inference():
        parts = task.embeddings(crops, seed)
        grey = grey_of(crops.images)
        for name in DESCRIPTORS:
            plain = described(name, grey)
            parts[f"plain_{name}_"] = unit(plain - plain.mean(0))
    return parts, crops.people


def together(parts: Mapping[str, Tensor], keys: Sequence[str]) -> Tensor:
    """Parts side by side, the network's with the weight `WEIGHT`."""
    weighted = [WEIGHT**0.5 * parts[key] if key == NETWORK else parts[key] for key in keys]
    return unit(torch.cat(weighted, 1))


def kept(file: Path, make: Callable[[], Parts]) -> Parts:
    """What `make` gives, made once and kept in a file."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(make(), file)
    found: Parts = torch.load(file, weights_only=True)
    return found


def line(label: str, measured: Sequence[Mapping[str, float]]) -> str:
    """A row of the table: the mean over seeds, each seed with its interval over people, and the TARs."""
    eer = statistics.mean(m["eer"] for m in measured)
    each = "; ".join(f"{m['eer']:.3f}: {m['eer_low']:.3f} to {m['eer_high']:.3f}" for m in measured)
    tars = " | ".join(f"{statistics.mean(m.get(f, 0.0) for m in measured):.3f}" for f in FARS)
    return f"| {label} | {eer:.3f} ({each}) | {tars} |"


def by_recipe(people: Path, folder: Path, recipe: str, seed: int) -> Parts:
    """The embeddings of a run, trained by a recipe."""
    place = folder / recipe.replace(" ", "_") / f"seed_{seed}"
    options = (f"task.data.root={people}", *SIZE, *RECIPES[recipe], f"seed={seed}")
    run = load(trained(place, "experiment=faces_recognition", *options))
    assert isinstance(run.task, Recognition)
    return embeddings(run.task, seed)


def by_start(people: Path, recipe: str, seed: int) -> Parts:
    """The embeddings of a network that begins with self-supervision; no run is kept of it."""
    return embeddings(started_by_pictures(people, seed, STEPS, PRECISION), seed)


def main(people: Path, folder: Path) -> None:
    """All runs, then the table."""
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, float]]] = {}
    makers = {recipe: partial(by_recipe, people, folder) for recipe in RECIPES}
    makers[STARTED] = partial(by_start, people)
    for recipe, make in makers.items():
        rows = {f"{recipe} {name}": keys for name, keys in PARTS.items()}
        for seed in SEEDS:
            file = folder / f"{recipe.replace(' ', '_')}_{seed}.pt"
            parts, who = kept(file, partial(make, recipe, seed))
            for name, keys in {**rows, **(BASELINES if recipe == FIRST else {})}.items():
                found.setdefault(name, []).append(verification(together(parts, keys), who, seed))
    print(
        "| | EER: mean (each seed, 95 % over people) | TAR at FAR 0.01 | 0.001 |\n|---|---|---|---|"
    )
    for name, measured in found.items():
        print(line(name, measured))


if __name__ == "__main__":
    arguments = given_arguments(__doc__, most=2)
    if not arguments:
        raise SystemExit(
            "which people? python -m experiments.face_few_people.study PEOPLE [FOLDER]"
        )
    main(Path(arguments[0]), Path(*arguments[1:] or ["outputs/face_few_people"]))
