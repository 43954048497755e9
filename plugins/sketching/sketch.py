"""Sketching a photograph: strokes move until the drawing looks like it.

Three things keep the gradient useful where it would vanish. Strokes start wide and faint and become thin (the gradient
reaches about three widths); strokes that contribute nothing respawn where the drawing is farthest from the photograph;
the last steps render with the flat pen that an SVG shows, so that the drawing cannot cheat with grey blur.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from numpy.typing import NDArray
from PIL.Image import Image as PillowImage
from pydantic import Field
from torch import Tensor

from framework import Context, Image, Task, Text, TrainingPlan, UserError, Video
from framework.config.types import Count, CountOrZero, Fraction, NonNegative, Positive
from framework.media import Media
from framework.randomness import fresh_key, generator, key
from framework.saved_state import check_saved
from framework.task import Split
from plugins.sketching.fitting import fit_in_memory
from plugins.sketching.images.photo import default_photo, photo_of, pictures_in, readable
from plugins.sketching.images.subject import Subject, mask_of
from plugins.sketching.options import (
    Colour,
    Learned,
    check_overlap,
    check_primitive,
    check_start,
    check_together,
    check_widths,
    triple,
)
from plugins.sketching.presentation import FRAMES, enlarged, pixels, shown, svg_of
from plugins.sketching.raster.request import Composition
from plugins.sketching.scene.drawing import SceneDrawing
from plugins.sketching.scene.starting import drawing_of, name_changed_widths
from plugins.sketching.schedule import Schedule
from plugins.sketching.strokes import primitives
from plugins.sketching.strokes.canvas import Style
from plugins.sketching.strokes.colours import palette_of, snapped
from plugins.sketching.strokes.drawing import Drawing
from plugins.sketching.strokes.overlapping import overlap
from plugins.sketching.strokes.placing import Placing
from plugins.sketching.strokes.plotter import ordered, travel
from plugins.sketching.strokes.primitives import Knots, Name
from plugins.sketching.strokes.respawning import respawned
from plugins.sketching.strokes.starting import Start, bending
from plugins.sketching.weighted_loss import WeightedLoss, checked_losses

# Of a task that no training has begun: for `draw` without a run, and for a look at the task alone.
DEFAULT_PLAN = TrainingPlan(seed=0, steps=500, learning_rate=0.004)


class Sketch(Task):
    """Draw a photograph with strokes."""

    model: Drawing | SceneDrawing
    primary_metric: ClassVar[str] = "loss"
    metric_descriptions: ClassVar[Mapping[str, str]] = {
        "loss": "weighted loss of the drawing with a flat pen profile, as an SVG has it",
        "loss_soft": "the same with the soft profile that is optimised",
        "gain": "share of the first drawing's loss that was removed",
        "squared_error": "mean squared error of the pixels",
        "strokes": "strokes of the drawing",
        "strokes_moved": "strokes respawned elsewhere so far",
        "pen_up_before": "pen-up travel in the order of the strokes, in pixels",
        "pen_up_after": "the same in the plotter's order",
        "train/strokes_moved": "strokes respawned elsewhere so far",
        "train/strokes_faint": "strokes below the opacity at which they are pruned",
    }

    def __init__(
        self,
        *,
        # The picture to draw.
        input: str | None = None,
        size: Annotated[int, Field(ge=1, le=4096)] = 256,
        gamma: Positive = 1.0,
        subject: Literal["tones", "lines"] = "tones",
        line_scale: Positive = 1.0,
        mask: str | None = None,
        # What a stroke is.
        primitive: Name = "line",
        control_points: Annotated[int, Field(ge=2, le=64)] = 4,
        continuous: bool = False,
        closed: bool = False,
        taper: Fraction = 0.0,
        knots: Knots = "centripetal",
        learned: list[Learned] = [],  # noqa: B006  (a schema's default, never changed)
        min_width: Positive = 0.3,
        max_width: Positive = 20.0,
        # Where the first strokes lie and what they look like.
        start_svg: str | None = None,
        strokes: Annotated[int, Field(ge=0, le=100_000)] = 1000,
        length: Positive = 0.1,
        width: Positive = 0.6,
        opacity: Fraction = 0.9,
        coarse_to_fine: Positive = 1.0,
        edge_weight: Fraction = 0.5,
        contours: Fraction = 0.0,
        contour_size: Positive = 2.0,
        # How strokes are put on paper.
        composition: Composition = "soft_or",
        filled: bool = False,
        coloured: bool = False,
        paper: Colour = [1.0, 1.0, 1.0],  # noqa: B006
        ink: Colour = [0.0, 0.0, 0.0],  # noqa: B006
        pens: list[Colour] = [],  # noqa: B006
        palette: CountOrZero = 0,
        # How they are fitted.
        losses: dict[str, float | dict[str, Any] | None] = {"pyramid": 1.0},  # noqa: B006
        bend_cost: NonNegative = 0.0,
        overlap_cost: NonNegative = 0.0,
        widening: Annotated[float, Field(ge=1)] = 4.0,
        widening_until: Fraction = 0.5,
        flat_from: Fraction = 0.8,
        respawn_every: CountOrZero = 25,
        respawn_until: Fraction = 0.7,
        prune_below: Fraction = 0.05,
        # What is shown.
        output_size: Annotated[int, Field(ge=1, le=10_000)] = 1000,
    ) -> None:
        self.size, self.gamma, self.coloured, self.mask = size, gamma, coloured, mask
        self.line_scale = line_scale if subject == "lines" else 0.0
        check_together(coloured, pens, palette, learned, continuous, closed, strokes)
        check_overlap(overlap_cost, coloured, filled, start_svg)
        # Of these an SVG's shapes have their own.
        chosen = {"continuous": continuous, "closed": closed, "filled": filled, "pens": pens}
        svg = f"task.start_svg = '{start_svg}'" if start_svg else ""
        check_start(svg, chosen | {"contours": contours, "taper": taper})
        check_widths(width, min_width, max_width, start_svg)
        name: Name = "catmull_rom" if continuous else primitive
        points = strokes if continuous else control_points
        kind = primitives.primitive(name, controls=points, closed=closed, knots=knots)
        check_primitive(kind, closed, filled, taper, 0.0 if start_svg else bend_cost)
        self.learned, self.min_width, self.max_width = frozenset(learned), min_width, max_width
        self.start_svg, self.palette = start_svg, palette
        self.bend_cost, self.overlap_cost = bend_cost, overlap_cost
        look = Placing(kind, length * size, width, opacity, coarse_to_fine, contours, contour_size)
        inks = torch.tensor(pens) if pens else None
        self.start = Start(look, strokes, coloured, edge_weight, inks, continuous)
        self.style = Style(composition, filled, coloured, triple(paper), triple(ink), taper)
        self.losses = checked_losses(losses)
        self.schedule = Schedule(widening, widening_until, flat_from)
        self.respawn_every, self.respawn_until = respawn_every, respawn_until
        self.prune_below, self.output_size = prune_below, output_size
        self.plan = DEFAULT_PLAN
        self.subject = self.seen(photo_of(default_photo() if input is None else input, size))
        self.model = self.first_drawing(torch.Generator().manual_seed(fresh_key()))
        self.reset()

    def seen(self, photo: Tensor) -> Subject:
        """A photograph `[3, H, W]` as this task draws it."""
        subject = Subject.of(photo, self.gamma, self.line_scale)
        if self.mask is None:
            return subject
        return subject.masked(mask_of(self.mask, photo), self.style.paper)

    def first_drawing(self, draw: torch.Generator) -> Drawing | SceneDrawing:
        """First strokes on a blank canvas of the photograph's size, or an SVG's shapes."""
        canvas = self.subject.canvas
        if self.start_svg:
            drawing = drawing_of(Path(self.start_svg), canvas, self.style, self.learned)
            if isinstance(drawing, SceneDrawing):
                costs = {"bend_cost": self.bend_cost, "palette": self.palette}
                check_start(f"{self.start_svg}, which has fills or chains of curves", costs)
            widths = self.min_width, self.max_width
            name_changed_widths(self.start_svg, drawing.pen_widths, *widths)
        else:
            strokes = self.start.first(self.subject, draw)
            kind = self.start.placing.primitive
            drawing = Drawing(kind, canvas, strokes, self.style, self.learned)
        drawing.confine(self.min_width, self.max_width)
        return drawing

    def reset(self) -> None:
        """Forget all progress: the drawing is a first one."""
        self.loss = WeightedLoss(self.losses, self.make_target())
        self.step = 0
        self.strokes_moved = 0
        # Of the last respawn, for the optimiser.
        self.restarted: dict[str, Tensor] = {}
        self.colours = palette_of(self.subject.photo, self.palette) if self.palette else None
        # `[H, W, 3]` uint8 each: the drawing while it is fitted.
        self.frames: list[Tensor] = []
        with torch.no_grad():
            self.start_loss = float(self.loss(self.model()))

    def clone(self, photo: Tensor, draw: torch.Generator) -> Self:
        """A sketch with the same options and a first drawing of another photograph; this one stays as it is.

        Raises:
            UserError: the subject's mask is a file, which belongs to one photograph.
        """
        if self.mask not in {None, "saliency"}:
            raise UserError(
                f"task.mask = '{self.mask}' is the mask of one photograph; others are drawn with 'saliency' or null"
            )
        other = copy(self)
        other.subject = self.seen(photo)
        other.replace_model(other.first_drawing(draw))
        other.reset()
        return other

    def make_target(self) -> Tensor:
        """What the drawing should look like."""
        return self.subject.target(self.style, self.model.plain)

    def begin(self, plan: TrainingPlan) -> None:
        """The schedules of widths, pen and respawns follow the plan's steps."""
        self.plan = plan

    @torch.no_grad()
    def before_step(self, step: int) -> None:
        """Confine strokes to the canvas, respawn useless ones, and record a frame, each when it is due."""
        self.step, steps, self.restarted = step, self.plan.steps, {}
        self.model.confine(self.min_width, self.max_width)
        early = step < self.respawn_until * steps
        if self.respawn_every and step and step % self.respawn_every == 0 and early:
            self.respawn(generator(self.plan.seed, "respawn", step))
        if step >= self.schedule.flat_from * steps:
            self.snap()
        if step % max(1, steps // FRAMES) == 0:
            self.frames.append(pixels(self.model(profile="flat")))

    def objective(self, context: Context, batch: Any) -> None:
        """How far the drawing is from the photograph, and how much its strokes bend and lie on one another."""
        options = self.render_options()
        picture = self.model(**options)
        context.cost(self.loss(picture), "distance")
        if self.overlap_cost and isinstance(self.model, Drawing):
            context.cost(self.overlap_cost * overlap(self.model, picture, **options), "overlap")
        if self.bend_cost and isinstance(self.model, Drawing):
            context.cost(self.bend_cost * bending(self.model.strokes.control), "bends")

    def restarted_rows(self) -> dict[str, Tensor]:
        return self.restarted

    @torch.no_grad()
    def snap(self) -> None:
        """Take each stroke's colour from the palette, where there is one."""
        if self.colours is not None and isinstance(self.model, Drawing):
            self.model.recolour(snapped(self.model.shades, self.colours.to(self.device)))

    def render_options(self) -> dict[str, Any]:
        """How the drawing is rendered at this step."""
        return self.schedule.render_options(self.step / self.plan.steps)

    @torch.no_grad()
    def respawn(self, draw: torch.Generator) -> None:
        """Move strokes that are faint, or on paper that should be lighter, to where most ink is missing."""
        model = self.model
        if isinstance(model, SceneDrawing) or self.start.continuous:
            # Shapes of an SVG, and one line, stay what they are.
            return
        which = respawned(model, self.loss.target, self.start, self.subject, self.prune_below, draw)
        if len(which):
            self.restarted = {name: which for name in self.parameters}
            self.strokes_moved += len(which)

    @torch.no_grad()
    def prune(self) -> None:
        """Remove strokes too faint to be seen, and leave no colour beside the palette's."""
        self.snap()
        if self.model.opacities.requires_grad:
            self.model.present &= ~self.model.faint(self.prune_below)

    @torch.no_grad()
    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """The loss as pens would draw the sketch, the gain over the first drawing, strokes and pen-up travel."""
        self.prune()
        soft = float(self.loss(self.model()))
        flat = self.model(profile="flat")
        metrics = {
            "loss": float(self.loss(flat)),
            "loss_soft": soft,
            "gain": 1 - soft / self.start_loss if self.start_loss > 0 else 0.0,
            "squared_error": float((flat - self.loss.target.to(flat)).square().mean()),
            "strokes": float(self.model.present.sum()),
            "strokes_moved": float(self.strokes_moved),
        }
        if isinstance(self.model, Drawing) and self.model.style.composition != "over":
            ends = self.model.ends()
            metrics["pen_up_before"] = travel(ends)
            metrics["pen_up_after"] = travel(ends, ordered(ends))
        return metrics

    def draw(
        self,
        image: str | Path | PillowImage | NDArray[Any] | Tensor,
        *,
        steps: int | None = None,
        learning_rate: float | None = None,
        seed: int = 0,
    ) -> Self:
        """Sketch a picture with this task's options, starting from new strokes; this sketch stays as it is.

        Args:
            image: a file, a PIL image, pixels `[H, W, 3]` or `[H, W]`, or a tensor `[3, H, W]`; integers from 0 to
                255 or floats from 0 to 1.
            steps, learning_rate: of the fit; None: those of the training that the task had, else 500 and 0.004.
            seed: of the first strokes and the respawns.

        Returns:
            the fitted sketch: `svg()`, `pixels()` `[H, W, 3]` uint8, and `model.strokes` in pixels of its canvas.

        Raises:
            UserError: no readable picture, or no steps.
        """
        plan = replace(
            self.plan,
            steps=self.plan.steps if steps is None else steps,
            learning_rate=self.plan.learning_rate if learning_rate is None else learning_rate,
        )
        other = self.clone(photo_of(image, self.size), generator(seed, "strokes"))
        return other.fit(plan, key(seed, "sketch") % 2**31)

    def fit(self, plan: TrainingPlan, seed: int, label: str = "") -> Self:
        """Take all steps of a plan at once, by Adam at a rate that falls to a tenth; returns itself.

        Args:
            label: begins the lines of progress on stderr; "": none are written.
        """
        fit_in_memory(self, plan, seed, label)
        self.prune()
        return self

    def predict(self, source: Path | None, seed: int) -> Iterator[Media]:
        """Sketch each picture of a file or folder in the run's style; without one, show the run's own sketch again.

        Raises:
            UserError: there is no readable picture.
        """
        if source is None:
            yield from self.show(seed)
            return
        files = pictures_in(source)
        photos = readable(files, lambda file: photo_of(file, self.size))
        for number, (name, photo) in enumerate(photos):
            label = f"{name} ({number + 1} of {len(files)})" if len(files) > 1 else name
            other = self.clone(photo, generator(seed, "strokes", number))
            other.fit(self.plan, key(seed, "sketch", number) % 2**31, label)
            for media in other.show(seed):
                yield replace(media, name=f"{name}/{media.name}")

    def show(self, seed: int) -> Iterator[Image | Video | Text]:
        """The sketch, large; beside its photograph; as SVG; while it was fitted; and being drawn."""
        yield from shown(self.model, self.loss.target, self.frames, self.output_size)

    def pixels(self) -> NDArray[Any]:
        """The sketch as a pen would draw it, `[H, W, 3]` uint8, its longer side `output_size` or the canvas's."""
        return enlarged(self.model, self.output_size)

    def svg(self) -> str:
        """The sketch as SVG, in the order with little pen-up travel where the order is free."""
        return svg_of(self.model)

    def scalars(self) -> dict[str, float]:
        faint = self.model.faint(self.prune_below)
        return {
            "train/strokes_moved": self.strokes_moved,
            "train/strokes_faint": float(faint.sum()),
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "frames": torch.stack(self.frames) if self.frames else torch.zeros(0),
            "step": self.step,
            "strokes_moved": self.strokes_moved,
            "start_loss": self.start_loss,
            # For `draw` and `predict`, which repeat the training with other pictures.
            "steps": self.plan.steps,
            "learning_rate": self.plan.learning_rate,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_saved(
            "the sketch",
            state,
            frames=Tensor,
            step=CountOrZero,
            strokes_moved=CountOrZero,
            start_loss=float,
            steps=Count,
            learning_rate=NonNegative,
        )
        self.frames = list(state["frames"])
        self.step, self.strokes_moved = state["step"], state["strokes_moved"]
        self.start_loss = state["start_loss"]
        steps, learning_rate = state["steps"], state["learning_rate"]
        self.plan = replace(self.plan, steps=steps, learning_rate=learning_rate)
