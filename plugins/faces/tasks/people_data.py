"""The people of a recognition task: whom it trains, validates and tests on, from a folder or synthetic."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from framework import UserError
from framework.config.schema import Section
from framework.config.types import CountOrZero
from framework.task import Split
from plugins.faces.data.crops import Crops
from plugins.faces.data.likeness import copies, signatures
from plugins.faces.data.photographs import (
    Partition,
    colourless,
    partition,
    people_files,
    read_people,
    refuse_leaks,
)
from plugins.faces.models.recogniser import TrainingData
from plugins.faces.synthetic.crops import FIRST_UNSEEN, synthetic_crops

# Pictures of a test that are compared with one another, at most.
MAX_TEST_PICTURES = 2000
# Of each synthetic person who is learned beside a folder's.
EXTRA_PICTURES = 10


class Data(Section):
    """Where faces come from.

    Attributes:
        root: a folder with a folder of pictures for each person; None: synthetic faces.
        side: pixels of a crop's side.
        test_fraction: the part of a folder's people who are tested on and not trained on. Of 50 others or more a tenth
            is not trained on either: they choose the checkpoint.
        people, pictures: synthetic people to train on, and pictures of each.
        test_people, test_pictures: the same, to test on.
        extra_people: synthetic people who are learned beside a folder's, each batch in equal parts; they are neither
            tested nor whitened by.
        seed: of the synthetic people, or of the choice of test people.
    """

    root: str | None = None
    side: Annotated[int, Field(ge=16, le=160)] = 48
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.375
    people: Annotated[int, Field(ge=2, le=500_000)] = 800
    pictures: Annotated[int, Field(ge=2)] = 16
    test_people: Annotated[int, Field(ge=2)] = 100
    test_pictures: Annotated[int, Field(ge=2)] = 10
    extra_people: Annotated[int, Field(ge=0, le=100_000)] = 0
    seed: CountOrZero = 0


class PeopleData:
    """The pictures by their purpose, read or rendered when they are first needed."""

    def __init__(self, data: Data) -> None:
        if data.extra_people and data.root is None:
            raise UserError(
                f"task.data.extra_people = {data.extra_people}: expected 0 without task.data.root, where all people "
                "are synthetic"
            )
        self.data = data
        self.root = None if data.root is None else Path(data.root).expanduser()

    def summary(self, grey: bool | None) -> TrainingData:
        """What the network's shape depends on. A trained network is used also where its photographs are not.

        Args:
            grey: whether colours are to be ignored; None: look.
        """
        if self.root is None:
            return TrainingData(False, self.data.people, grey or False)
        if not self.root.is_dir():
            return TrainingData(True, 2, grey or False)
        files = list(people_files(self.root).values())
        training = self.partition(len(files)).training
        if grey is None:
            grey = colourless(file for person in training for file in files[person])
        return TrainingData(True, len(training), grey)

    def partition(self, count: int) -> Partition:
        """What each of the folder's people is for."""
        return partition(count, self.data.test_fraction, 2, "held-out people", self.data.seed)

    def check(self) -> None:
        """Check the folder before a training.

        Raises:
            UserError: too few people, or a person or a picture both to train on and to evaluate on.
        """
        if self.root is None:
            return
        everyone = self.everyone
        parts = self.partition(len(everyone.names))
        if len(parts.training) < 2 or len(parts.test) < 2:
            raise UserError(
                f"task.data.root = '{self.root}': {len(everyone.names)} people; "
                "expected four or more, two to train on and two to test on"
            )
        refuse_leaks(self.training, everyone.of([*parts.test, *parts.validation]))

    @cached_property
    def everyone(self) -> Crops:
        """The people of the folder."""
        assert self.root is not None
        return read_people(self.root, self.data.side)

    @cached_property
    def training(self) -> Crops:
        """The people to train on."""
        data = self.data
        if self.root is None:
            return synthetic_crops(data.seed, 0, data.people, data.pictures, data.side)
        return self.everyone.of(self.partition(len(self.everyone.names)).training)

    @cached_property
    def extra(self) -> Crops:
        """The synthetic people who are learned beside the folder's."""
        data = self.data
        return synthetic_crops(data.seed, 0, data.extra_people, EXTRA_PICTURES, data.side)

    @cached_property
    def validation(self) -> Crops:
        """The people of the folder who choose the checkpoint; none where there are too few."""
        return self.everyone.of(self.partition(len(self.everyone.names)).validation)

    @cached_property
    def seen(self) -> Tensor:
        """Signatures of the photographs that were trained on or chose the checkpoint; a checkpoint stores them.

        Only these, from which no picture can be restored: see `data/likeness.py`.
        """
        if self.root is None:
            return signatures(torch.zeros(0, 3, self.data.side, self.data.side))
        return torch.cat([signatures(self.training.images), signatures(self.validation.images)])

    @cached_property
    def unseen(self) -> Crops:
        """The people of the folder of whom no picture, nor a copy of one, was seen in training.

        Raises:
            UserError: fewer than two.
        """
        everyone = self.everyone
        known = set(everyone.people[copies(everyone.images, self.seen)].tolist())
        others = [p for p in self.partition(len(everyone.names)).order if p not in known]
        if len(others) < 2:
            raise UserError(
                f"task.data.root = '{self.root}': {len(others)} people who were not trained on; expected two or more"
            )
        return first_people(everyone.of(others), MAX_TEST_PICTURES)

    def evaluated(self, seed: int, split: Split) -> Crops:
        """People who are not trained on: of a folder by the split, or synthetic ones that follow the seed."""
        if self.root is not None:
            return (
                self.validation if split == "validation" and len(self.validation) else self.unseen
            )
        data = self.data
        first = FIRST_UNSEEN + seed % 1000 * data.test_people
        return synthetic_crops(data.seed, first, data.test_people, data.test_pictures, data.side)

    def new_pictures(self) -> Crops:
        """Other pictures of synthetic people who are trained on, 50 of them at most."""
        data = self.data
        return synthetic_crops(
            data.seed,
            0,
            min(50, data.people),
            data.test_pictures,
            data.side,
            first_picture=data.pictures,
        )


def first_people(crops: Crops, pictures: int) -> Crops:
    """The first people whose pictures together are at most `pictures`, and two people at least."""
    counts = torch.bincount(crops.people, minlength=len(crops.names)).cumsum(0)
    return crops.of(range(max(2, int((counts <= pictures).sum()))))
