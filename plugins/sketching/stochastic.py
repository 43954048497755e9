"""A sketch whose strokes are present or not: z_i ~ Bernoulli(p_i), so that training also decides how many are worth it.

Each stroke present costs `cost_per_stroke`. Any estimator differentiates the expectation. For black soft-or strokes
and squared error it is also known in closed form, because the lightness prod(1 - z_i a_i) and its square are linear in
every z_i:

    E[(prod(1 - z_i a_i) - t)^2] = prod(1 - p_i (2 a_i - a_i^2)) - 2 t prod(1 - p_i a_i) + t^2

which is an oracle for every estimator's bias and variance, with any number of strokes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import Bernoulli

from framework import Context, Image, Program, Text, TrainingPlan, UserError, Video
from framework.config.types import NonNegative
from framework.config.validation import check_options
from framework.gradients.enumeration.exact import Exact
from framework.gradients.estimator import Estimator
from framework.task import Split
from plugins.sketching.raster.render import render
from plugins.sketching.raster.request import DARKEST
from plugins.sketching.sketch import Sketch
from plugins.sketching.strokes.drawing import PACE, Drawing
from plugins.sketching.strokes.tapering import lines_of

# Options of the sketch, where none are given.
SMALL_SKETCH: dict[str, Any] = {
    "input": None,
    "size": 64,
    "strokes": 120,
    "length": 0.15,
    "width": 0.5,
    "widening": 2.0,
    "respawn_every": 0,
    "losses": {"squared": 1.0},
}


class StochasticSketch(Sketch):
    """Draw a photograph with strokes, each present with a learned probability."""

    model: Drawing
    primary_metric: ClassVar[str] = "loss_expected"
    metric_descriptions: ClassVar[Mapping[str, str]] = {
        **Sketch.metric_descriptions,
        "loss_expected": "expected objective over which strokes are present",
        "strokes_expected": "expected number of strokes",
    }

    def __init__(
        self,
        *,
        cost_per_stroke: NonNegative = 3e-4,
        initial_probability: Annotated[float, Field(gt=0, lt=1)] = 0.7,
        closed_form: bool = True,
        sketch: dict[str, Any] = SMALL_SKETCH,
    ) -> None:
        self.cost_per_stroke, self.closed_form = cost_per_stroke, closed_form
        self.initial_probability = initial_probability
        super().__init__(**check_options(Sketch, sketch, "task.sketch"))

    def first_drawing(self, draw: torch.Generator) -> Drawing:
        """First strokes, each present with the same probability."""
        drawing = super().first_drawing(draw)
        if not isinstance(drawing, Drawing):
            raise UserError(
                f"task.sketch.start_svg = '{self.start_svg}': strokes that may be absent are single curves; "
                "this SVG has fills, gradients or chains"
            )
        logits = torch.full((len(drawing.widths),), self.initial_probability).logit() / PACE
        drawing.register_parameter("presence", nn.Parameter(logits))
        return drawing

    @property
    def logits(self) -> Tensor:
        """The logits of the probabilities of the strokes that are not pruned, `[S]`."""
        # An estimator may have placed another tensor there.
        presence: Any = self.model.presence
        logits: Tensor = PACE * presence[self.model.present]
        return logits

    def program(self, estimator: Estimator) -> Program:
        """The sampled objective; for the exact estimator its expectation, where that is known in closed form."""
        closed = self.closed_form and self.has_closed_form and isinstance(estimator, Exact)
        return self.as_program(self.expectation if closed else self.objective)

    def expectation(self, context: Context, batch: Any) -> None:
        """The closed form of the sampled objective's expectation."""
        chance = self.logits.sigmoid()
        context.cost(self.expected_distance(chance, **self.render_options()), "distance")
        context.cost(self.cost_per_stroke * chance.sum(), "strokes")

    def objective(self, context: Context, batch: Any) -> None:
        """The distance of the strokes that are present from the photograph, and their cost."""
        # `[n, S]`.
        present = context.sample("present", Bernoulli(logits=self.logits))
        context.cost(self.loss(self.model(gates=present, **self.render_options())), "distance")
        context.cost(self.cost_per_stroke * present.sum(-1), "strokes")

    def expected_distance(self, chance: Tensor, **options: Any) -> Tensor:
        """The expected squared error in closed form, from each stroke's ink by itself; a scalar.

        Args:
            chance: each stroke's probability, `[S]`.
            options: of rendering, as `render_options` returns them.
        """
        ink = self.inks(**options)
        chance = chance[:, None, None]
        first = (1 - chance * ink).prod(0)
        second = (1 - chance * ink * (2 - ink)).prod(0)
        target = self.loss.target[0].to(ink)
        weight = self.losses["squared"][0]
        return weight * (second - 2 * target * first + target**2).mean()

    def inks(self, *, widening: float = 1.0, profile: Any = "gaussian") -> Tensor:
        """Each stroke's ink on a separate canvas, `[S, H, W]`."""
        strokes = self.model.strokes
        style = self.model.style
        lines, taper = lines_of(self.model.primitive, strokes.control, style.taper)
        ink = render(
            lines.unsqueeze(1),
            strokes.width[:, None] * widening,
            self.model.canvas,
            opacity=strokes.opacity[:, None] / widening,
            taper=taper,
            profile=profile,
            filled=style.filled,
        )
        # Not by clamp, which leaves out the gradient of an ink that is exactly the darkest.
        return torch.where(ink > DARKEST, DARKEST, ink)

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """The expected objective, in closed form where known, and the metrics of the sketch of the likely strokes."""
        metrics: dict[str, float] = {}
        chance = self.logits.sigmoid()
        if self.has_closed_form:
            expected = self.expected_distance(chance) + self.cost_per_stroke * chance.sum()
        else:
            draw = torch.Generator().manual_seed(seed)
            present = torch.rand(64, len(chance), generator=draw).to(chance) < chance
            expected = self.loss(self.model(gates=present.to(chance))).mean()
            expected = expected + self.cost_per_stroke * chance.sum()
        metrics["loss_expected"] = float(expected)
        metrics["strokes_expected"] = float(chance.sum())
        with self.likely_strokes():
            return metrics | super().evaluate(seed, split)

    def show(self, seed: int) -> Iterator[Image | Video | Text]:
        """What a sketch shows, of the strokes that are more likely present than not."""
        with self.likely_strokes():
            yield from super().show(seed)

    @contextmanager
    def likely_strokes(self) -> Iterator[None]:
        """Inside the block only the strokes more likely present than not are there."""
        model, before = self.model, self.model.present.clone()
        model.present[before] &= self.logits > 0
        try:
            yield
        finally:
            model.present.copy_(before)

    def fit(self, plan: TrainingPlan, seed: int, label: str = "") -> Self:
        """Fit by the closed form.

        Raises:
            UserError: there is no closed form.
        """
        if not self.has_closed_form:
            raise UserError(
                "new pictures need the closed form: black soft_or strokes and losses: {squared: 1.0}"
            )
        return super().fit(plan, seed, label)

    @property
    def has_closed_form(self) -> bool:
        """Whether the expectation is known in closed form: black soft-or strokes and squared error alone."""
        soft_or = self.model.style.composition == "soft_or"
        return self.model.plain and soft_or and list(self.losses) == ["squared"]

    def prune(self) -> None:
        """Strokes are removed by their probability, not by their opacity."""
