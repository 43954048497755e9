"""A self-supervised start of recognition: each picture is told apart from all others before anybody has a name.

Two augmented views of a picture are to be closer to each other than to those of other pictures (Chen et al. 2020, A
Simple Framework for Contrastive Learning of Visual Representations): the supervised contrastive loss with a picture's
number for a person's. The training by names then begins with that network.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import torch

from framework import Program, fit
from framework.randomness import generator, seeded
from framework.task import TrainingPlan
from plugins.faces.data.augmentation import augmented
from plugins.faces.tasks.people_data import Data
from plugins.faces.tasks.recognition import Batch, Recognition

# As configs/experiment/faces_recognition.yaml has it, for a task object, which has no experiment.
MARGIN_WARMUP = 120
SETTINGS = (
    "scheduler.warmup=50",
    "optimizer.learning_rate=3e-3",
    "optimizer.weight_decay=0.05",
    "trainer.threads=1",
)
TEMPERATURE = 0.2


class PicturesAlone(Recognition):
    """Two views of each picture of a batch; the loss is over pairs, and people's names are not looked at."""

    def begin(self, plan: TrainingPlan) -> None:
        """Read the photographs; nothing is whitened, which would need names."""
        self.people.check()

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Batch]:
        """Batch number k depends on the seed and k only."""
        images = self.people.training.images
        for number in count(start):
            random = generator(seed, "self-supervision", number)
            chosen = torch.randperm(len(images), generator=random)[: self.batch_size // 2].repeat(2)
            yield Batch(augmented(images[chosen], self.augmentation, random), chosen, number)


def started_by_pictures(people: Path, seed: int, steps: int, precision: str) -> Recognition:
    """Recognition trained for `steps` steps by names after as many by pictures alone."""
    data = Data(root=str(people), seed=seed)
    settings = (*SETTINGS, f"trainer.precision={precision}")
    with seeded(seed):
        start = PicturesAlone(
            data=data, loss={"name": "supcon", "temperature": TEMPERATURE}, pictures_per_person=2
        )
        task = Recognition(data=data, margin_warmup=MARGIN_WARMUP)
    for task_of_stage in (start, task):
        task.model.embedder.load_state_dict(start.model.embedder.state_dict())
        fit(
            task_of_stage,
            estimator="exact",
            optimizer="adamw",
            scheduler="cosine",
            steps=steps,
            seed=seed,
            overrides=settings,
        )
    return task
