"""A sketch whose strokes are there or not: z_i ~ Bernoulli(p_i), so that learning also chooses how many are worth it.

Each stroke that is drawn costs `cost_per_stroke`. Any estimator of the core differentiates the expectation. For black
soft-or strokes and squared error it is also known in closed form, because the lightness prod(1 - z_i a_i) and its
square are linear in every z_i:

    E[(prod(1 - z_i a_i) - t)^2] = prod(1 - p_i (2 a_i - a_i^2)) - 2 t prod(1 - p_i a_i) + t^2

which is an oracle for every estimator's bias and variance, at any number of strokes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import Bernoulli

from framework import Context, Image, Program, Text, UserError, Video
from framework.config.validation import check_options
from framework.gradients.enumeration.exact import Exact
from framework.gradients.estimator import Estimator
from framework.media import Media
from framework.task import Split
from plugins.sketching.raster.render import DARKEST, render
from plugins.sketching.sketch import Sketch
from plugins.sketching.strokes.drawing import PACE, Drawing


class StochasticSketch(Sketch):
    """Draw a photograph with strokes of which each is there with a probability that is learned."""

    primary_metric: ClassVar[str] = "loss_expected"

    def __init__(
        self,
        *,
        cost_per_stroke: Annotated[float, Field(ge=0)] = 1e-5,
        probability: Annotated[float, Field(gt=0, lt=1)] = 0.7,
        closed_form: bool = True,
        sketch: dict[str, Any] = {},  # noqa: B006  (a schema's default, never changed)
    ) -> None:
        self.cost_per_stroke, self.closed_form = cost_per_stroke, closed_form
        self.probability = probability
        super().__init__(**check_options(Sketch, sketch, "task.sketch"))

    def reset(self, photo: Tensor, draw: torch.Generator) -> None:
        """First strokes, each there with the same probability."""
        super().reset(photo, draw)
        logits = torch.full((len(self.model.widths),), self.probability).logit() / PACE
        self.model.register_parameter("presence", nn.Parameter(logits))

    @property
    def logits(self) -> Tensor:
        """Of the probabilities of the strokes that are present at all, `[S]`."""
        presence: Any = self.model.presence  # maybe another's, placed there by an estimator
        logits: Tensor = PACE * presence[self.model.present]
        return logits

    def program(self, estimator: Estimator) -> Program:
        """The drawn objective; for the exact estimator its expectation, where that is known in closed form."""
        known = known_in_closed_form(self.model, list(self.settings))
        closed = self.closed_form and known and isinstance(estimator, Exact)
        return self.as_program(self.expectation if closed else self.objective)

    def expectation(self, context: Context, batch: Any) -> None:
        """The closed form of what `objective` draws."""
        chance = self.logits.sigmoid()
        context.cost(self.expected(chance, **self.manner()), "distance")
        context.cost(self.cost_per_stroke * chance.sum(), "strokes")

    def objective(self, context: Context, batch: Any) -> None:
        """The distance of the strokes that are there from the photograph, and their own cost."""
        there = context.sample("present", Bernoulli(logits=self.logits))  # [n, S]
        context.cost(self.loss(self.model(gates=there, **self.manner())), "distance")
        context.cost(self.cost_per_stroke * there.sum(-1), "strokes")

    def expected(self, chance: Tensor, **manner: Any) -> Tensor:
        """The expected squared error in closed form; each stroke is drawn alone, `[S, H, W]`."""
        ink = self.inks(**manner)
        chance = chance[:, None, None]
        first = (1 - chance * ink).prod(0)
        second = (1 - chance * ink * (2 - ink)).prod(0)
        target = self.target[0].to(ink)
        weight = self.settings["squared"][0]
        return weight * (second - 2 * target * first + target**2).mean()

    def inks(self, *, widened: float = 1.0, profile: Any = "gaussian") -> Tensor:
        """Every stroke's ink on a canvas of its own, `[S, H, W]`."""
        strokes = self.model.strokes
        lines = self.model.primitive.vertices(strokes.control).unsqueeze(1)
        alone = render(
            lines,
            strokes.width[:, None] * widened,
            self.model.canvas,
            opacity=strokes.opacity[:, None] / widened,
            profile=profile,
            filled=self.model.style.filled,
        )
        return alone.clamp(max=DARKEST)

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """The expected objective, in closed form where it is known, and the sketch of the likely strokes."""
        metrics: dict[str, float] = {}
        chance = self.logits.sigmoid()
        if known_in_closed_form(self.model, list(self.settings)):
            expected = self.expected(chance) + self.cost_per_stroke * chance.sum()
        else:
            draw = torch.Generator().manual_seed(seed)
            there = torch.rand(64, len(chance), generator=draw).to(chance) < chance
            expected = self.loss(self.model(gates=there.to(chance))).mean()
            expected = expected + self.cost_per_stroke * chance.sum()
        metrics["loss_expected"] = float(expected)
        metrics["strokes_expected"] = float(chance.sum())
        with self.likely_strokes():
            return metrics | super().evaluate(seed, split)

    def show(self, seed: int) -> Iterator[Image | Video | Text]:
        """What a sketch shows, of the strokes that are more likely there than not."""
        with self.likely_strokes():
            yield from super().show(seed)

    @contextmanager
    def likely_strokes(self) -> Iterator[None]:
        """Only the strokes more likely than not are present inside the block."""
        model, before = self.model, self.model.present.clone()
        model.present[before] &= self.logits > 0
        try:
            yield
        finally:
            model.present.copy_(before)

    def predict(self, source: Path | None, seed: int) -> Iterator[Media]:
        """What a sketch predicts, learned with the closed form.

        Raises:
            UserError: there is no readable picture, or no closed form.
        """
        if source is not None and not known_in_closed_form(self.model, list(self.settings)):
            raise UserError(
                "new pictures need the closed form: black soft_or strokes and losses: {squared: 1.0}"
            )
        return super().predict(source, seed)

    def prune(self) -> None:
        """Strokes are left out by their probability, not by their opacity."""


def known_in_closed_form(drawing: Drawing, losses: list[str]) -> bool:
    return drawing.plain and drawing.style.composition == "soft_or" and losses == ["squared"]
