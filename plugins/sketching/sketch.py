"""Sketching a photograph: strokes are moved until the drawing looks like it.

Three things keep the gradient useful where it would fade. Strokes begin wide and faint and become thin (the gradient
reaches about three widths); strokes that do nothing are put where the picture is farthest from the photograph; the
last steps draw with the flat pen that an SVG shows, so that the drawing cannot cheat with grey blur.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from framework import Context, Image, Program, Task, Text, Video
from framework.config.validation import check_options
from framework.errors import UserError
from framework.gradients.estimate import make_estimator
from framework.media import Media
from framework.plugin import registry
from framework.randomness import fresh_key, generator, key
from framework.task import Split
from plugins.sketching.images.photo import (
    Guide,
    at,
    blurred,
    default_photo,
    grey,
    line_drawing,
    load_photo,
    pictures_in,
    readable,
    scattered,
    stretched,
)
from plugins.sketching.losses import Loss
from plugins.sketching.raster.job import Composition
from plugins.sketching.strokes import primitives
from plugins.sketching.strokes.drawing import PACE, Drawing, Strokes, Style
from plugins.sketching.strokes.placing import Placing
from plugins.sketching.strokes.plotter import ordered, travel
from plugins.sketching.strokes.primitives import Knots, Name
from plugins.sketching.svg import reading as svg
from plugins.sketching.svg import writing

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Colour = Annotated[list[Share], Field(min_length=3, max_length=3)]
Learned = Literal["width", "opacity", "colour"]

FRAMES = 60  # of an animation


class Sketch(Task):
    """Draw a photograph with strokes."""

    model: Drawing
    primary_metric: ClassVar[str] = "loss"

    def __init__(
        self,
        *,
        input: str | None = None,
        start_svg: str | None = None,
        size: Annotated[int, Field(ge=1, le=4096)] = 256,
        steps: Count = 500,
        strokes: Annotated[int, Field(ge=0, le=100_000)] = 1000,
        primitive: Name = "line",
        controls: Annotated[int, Field(ge=2, le=64)] = 4,
        closed: bool = False,
        knots: Knots = "centripetal",
        filled: bool = False,
        composition: Composition = "soft_or",
        learned: list[Learned] = [],  # noqa: B006  (a schema's default, never changed)
        coloured: bool = False,
        paper: Colour = [1.0, 1.0, 1.0],  # noqa: B006
        ink: Colour = [0.0, 0.0, 0.0],  # noqa: B006
        length: Positive = 0.1,
        width: Positive = 0.6,
        thinnest: Positive = 0.3,
        widest: Positive = 20.0,
        opacity: Share = 0.9,
        coarse: Positive = 1.0,
        attention: Share = 0.5,
        gamma: Positive = 1.0,
        subject: Literal["tones", "lines"] = "tones",
        line_scale: Positive = 1.0,
        losses: dict[str, float | dict[str, Any] | None] = {"pyramid": 1.0},  # noqa: B006
        widened: Annotated[float, Field(ge=1)] = 4.0,
        widened_until: Share = 0.5,
        flat_from: Share = 0.8,
        respawn_every: Annotated[int, Field(ge=0)] = 25,
        respawn_until: Share = 0.7,
        prune_below: Share = 0.05,
        rate: Positive = 0.004,
        shown: Annotated[int, Field(ge=1, le=10_000)] = 1000,
    ) -> None:
        self.steps, self.thinnest, self.widest = steps, thinnest, widest
        self.widened, self.widened_until, self.flat_from = widened, widened_until, flat_from
        self.respawn_every, self.respawn_until = respawn_every, respawn_until
        self.prune_below, self.attention, self.coloured = prune_below, attention, coloured
        self.size, self.gamma, self.rate, self.shown = size, gamma, rate, shown
        self.line_scale = line_scale if subject == "lines" else 0.0
        self.start_svg, self.count, self.learned = start_svg, strokes, frozenset(learned)
        kind = primitives.primitive(
            "cubic" if start_svg else primitive, controls=controls, closed=closed, knots=knots
        )
        self.placing = Placing(kind, length * size, width, opacity, coarse)
        self.style = Style(composition, filled, coloured, triple(paper), triple(ink))
        self.settings = {
            name: made_loss(name, told) for name, told in losses.items() if told is not None
        }
        if not self.settings:
            known = ", ".join(registry().names("sketching.losses"))
            raise UserError(f"task.losses names no loss; choices: {known}")
        photo = load_photo(Path(input) if input else default_photo(), size)
        self.reset(photo, torch.Generator().manual_seed(fresh_key()))

    def reset(self, photo: Tensor, draw: torch.Generator) -> None:
        """Lay first strokes on new paper, for a photograph `[3, H, W]`."""
        self.photo, self.guide = photo, Guide.of(grey(photo))
        self.lightness = stretched(grey(photo), self.gamma)
        if self.line_scale:
            self.lightness = line_drawing(self.lightness, self.line_scale)
        canvas = int(photo.shape[1]), int(photo.shape[2])
        if self.start_svg:
            strokes = svg.as_strokes(svg.read(Path(self.start_svg)), canvas)
        else:
            strokes = self.first_strokes(self.count, draw)
        self.model = Drawing(self.placing.primitive, canvas, strokes, self.style, self.learned)
        self.model.confine(self.thinnest, self.widest)
        self.target = self.wanted()
        self.made: list[tuple[float, Loss]] = []  # the losses, made where the drawing lives
        self.number = 0  # of the step that is being made
        self.moved = 0  # strokes put elsewhere so far
        self.frames: list[Tensor] = []  # [H, W, 3] uint8, the drawing while it is learned
        with torch.no_grad():
            self.start_loss = float(self.loss(self.model()))

    def first_strokes(self, count: int, draw: torch.Generator) -> Strokes:
        """Strokes where there is darkness (or, in colour, anything) and edges, large ones first."""
        tone = torch.ones_like(self.lightness) if self.coloured else 1 - self.lightness
        tone, edges = tone / tone.sum().clamp(min=1e-6), self.guide.edges
        density = (1 - self.attention) * tone + self.attention * edges / edges.sum().clamp(min=1e-6)
        rank = (torch.arange(count) + 0.5) / max(count, 1)
        places = scattered(density, count, draw)
        return self.placing.strokes(places, rank, self.photo, self.guide, draw)

    def wanted(self) -> Tensor:
        """What the drawing should look like: the photograph, or its lightness between paper and ink."""
        if self.coloured:
            return self.photo
        if self.model.plain:
            return self.lightness.unsqueeze(0)
        paper, ink = self.model.paper[:, None, None], self.model.ink[:, None, None]
        return ink + (paper - ink) * self.lightness

    def loss(self, picture: Tensor) -> Tensor:
        """The weighted sum of the losses, `[*n, C, H, W]` -> `[*n]`."""
        if not self.made:
            target = self.target.to(picture.device)
            self.made = [(weight, make(target)) for weight, make in self.settings.values()]
        return torch.stack([weight * loss(picture) for weight, loss in self.made]).sum(0)

    def objective(self, context: Context, batch: Any) -> None:
        """How far the drawing is from the photograph."""
        context.cost(self.loss(self.model(**self.manner())))

    def manner(self) -> dict[str, Any]:
        """How the drawing is made at this step: wide at first, with the flat pen at last."""
        done = self.number / self.steps
        if done >= self.flat_from:
            return {"profile": "flat"}
        left = max(0.0, 1 - done / self.widened_until) if self.widened_until else 0.0
        return {"widened": self.widened**left}

    def batches(self, program: Program, seed: int, start: int) -> Iterator[None]:
        """No data; called before each step, which is the time to tend the strokes."""
        number = start
        while True:
            self.number = number
            self.model.confine(self.thinnest, self.widest)
            early = number < self.respawn_until * self.steps
            if self.respawn_every and number and number % self.respawn_every == 0 and early:
                self.respawn(generator(seed, "respawn", number))
            if number % max(1, self.steps // FRAMES) == 0:
                with torch.no_grad():
                    self.frames.append(pixels(self.model(profile="flat")))
            yield None
            number += 1

    @torch.no_grad()
    def respawn(self, draw: torch.Generator) -> None:
        """Put strokes that are faint, or on paper that should be lighter, where ink is missing most."""
        model, device = self.model, self.device
        strokes = model.strokes
        missing = blurred(model().mean(0) - self.target.to(device).mean(0), 2.0)  # > 0: too light
        dead = strokes.opacity < self.prune_below
        if not self.coloured:
            over = at(missing, strokes.control.flatten(0, 1)).reshape(len(dead), -1).mean(1)
            worst = over < torch.quantile(over, 0.03) if len(over) else dead
            dead = dead | (worst & (over < -0.05))
        which = model.present.nonzero()[:, 0][dead]
        if len(which) == 0:
            return
        residual = missing.abs() if self.coloured else missing.clamp(min=0)
        places = scattered(residual.cpu() ** 2, len(which), draw)
        rank = which.cpu() / len(model.present)
        fresh = self.placing.strokes(places, rank, self.photo, self.guide, draw)
        model.replace(which, moved(fresh, device))
        self.moved += len(which)

    @torch.no_grad()
    def prune(self) -> None:
        """Leave out strokes too faint to be seen."""
        faint = torch.sigmoid(PACE * self.model.opacities) < self.prune_below
        if self.model.opacities.requires_grad:
            self.model.present &= ~faint

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """The loss of the drawing as pens would draw it, its gain on the first drawing, strokes and pen-up travel."""
        self.prune()
        soft = float(self.loss(self.model()))
        flat = self.model(profile="flat")
        strokes = self.model.strokes
        metrics = {
            "loss": float(self.loss(flat)),
            "loss_soft": soft,
            "gain": 1 - soft / self.start_loss if self.start_loss > 0 else 0.0,
            "squared_error": float((flat - self.target.to(flat)).square().mean()),
            "strokes": float(len(strokes.width)),
            "strokes_moved": float(self.moved),
        }
        if self.model.style.composition != "over":
            ends = self.ends(strokes)
            metrics["pen_up_before"] = travel(ends)
            metrics["pen_up_after"] = travel(ends, ordered(ends))
        return metrics

    def ends(self, strokes: Strokes) -> Any:
        """Each stroke's start and end, `[S, 2, 2]`, in pixels."""
        vertices = self.model.primitive.vertices(strokes.control)
        return vertices[:, [0, -1]].double().cpu().numpy()

    def show(self, seed: int) -> Iterator[Image | Video | Text]:
        """The sketch, large; beside its photograph; as SVG; being learned; and being drawn."""
        scale = max(1.0, self.shown / self.model.side)
        sketch = pixels(self.model(profile="flat", scale=scale))
        yield Image("sketch", sketch.numpy())
        yield Image("target_sketch_difference", self.comparison())
        route = None
        strokes = self.model.strokes
        if self.model.style.composition != "over" and len(strokes.width):
            route = ordered(self.ends(strokes))
        style = self.model.style
        text = writing.write(strokes, self.model.primitive, self.model.canvas, style, route)
        yield Text("sketch", text, suffix=".svg")
        if len(self.frames) > 1:
            yield Video("learning", torch.stack(self.frames).numpy(), 15)
        if len(strokes.width):
            yield Video("drawing", self.film(route), 20)

    def predict(self, source: Path | None, seed: int) -> Iterator[Media]:
        """Each picture of a file or folder sketched in the run's style; without one, the run's own sketch again.

        Raises:
            UserError: there is no readable picture.
        """
        if source is None:
            yield from self.show(seed)
            return
        files = pictures_in(source)
        photos = readable(files, lambda file: load_photo(file, self.size))
        for number, (name, photo) in enumerate(photos):
            sitting = copy(self)
            sitting.__dict__.pop("parameters", None)  # those of the run's own drawing
            sitting.reset(photo, generator(seed, "strokes", number))
            sitting.model.to(self.device)
            said = f"{name} ({number + 1} of {len(files)})" if len(files) > 1 else name
            sitting.finish(key(seed, "sitting", number), said)
            for media in sitting.show(seed):
                yield replace(media, name=f"{name}/{media.name}")

    @torch.enable_grad()
    def finish(self, seed: int, said: str) -> None:
        """Make all steps at once, by Adam with a rate that falls to a tenth; tells of the progress on stderr."""
        estimator = make_estimator("exact")
        program = self.program(estimator)
        learned = [p for p in self.parameters.values() if p.requires_grad]
        optimizer = torch.optim.Adam(learned, self.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, self.steps, eta_min=0.1 * self.rate
        )
        told = max(1, self.steps // 4)
        for number, batch in zip(range(self.steps), self.batches(program, seed, 0), strict=False):
            optimizer.zero_grad()
            estimate = estimator.backward(program, self.parameters, batch)
            optimizer.step()
            schedule.step()
            if (number + 1) % told == 0:
                loss = float(estimate.objective)
                sys.stderr.write(f"{said}: step {number + 1}/{self.steps}  objective {loss:.4g}\n")
        with torch.no_grad():
            self.prune()

    def comparison(self) -> Any:
        """Target, sketch and their difference side by side, `[H, 3 W, 3]` uint8."""
        drawn = self.model(profile="flat")
        target = self.target.to(drawn)
        parts = [target, drawn, 0.5 + (drawn - target) / 2]
        return torch.cat([pixels(part) for part in parts], 1).numpy()

    def film(self, route: Any) -> Any:
        """Frames `[T, H, W, 3]` of strokes appearing in the order of drawing."""
        present = self.model.present
        order = range(int(present.sum())) if route is None else route.order.tolist()
        rank = torch.empty(len(order), device=self.device)
        rank[torch.as_tensor(list(order), device=self.device)] = torch.arange(
            len(order), device=self.device, dtype=rank.dtype
        )
        frames = []
        for frame in range(FRAMES + 1):
            gates = (rank < frame / FRAMES * len(order)).float()
            frames.append(pixels(self.model(profile="flat", gates=gates)))
        return torch.stack([*frames, *[frames[-1]] * 20]).numpy()

    def scalars(self) -> dict[str, float]:
        dead = torch.sigmoid(PACE * self.model.opacities) < self.prune_below
        return {"train/strokes_moved": self.moved, "train/strokes_faint": float(dead.sum())}

    def state_dict(self) -> dict[str, Any]:
        frames = torch.stack(self.frames) if self.frames else torch.zeros(0)
        return {
            "frames": frames,
            "number": self.number,
            "moved": self.moved,
            "start_loss": self.start_loss,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.frames = list(state["frames"])
        self.number, self.moved = state["number"], state["moved"]
        self.start_loss = state["start_loss"]


def made_loss(name: str, told: float | dict[str, Any]) -> tuple[float, Callable[[Tensor], Loss]]:
    """A loss's weight, and its factory with the options checked.

    Raises:
        UserError: an unknown loss or option, or a weight that is not positive.
    """
    options = {"weight": told} if isinstance(told, float | int) else dict(told)
    weight = float(options.pop("weight", 1.0))
    if not (math.isfinite(weight) and weight > 0):
        raise UserError(f"task.losses.{name} = {weight}: expected a weight greater than 0")
    factory = registry().component("sketching.losses", name).load()
    checked = check_options(factory, options, f"task.losses.{name}")
    return weight, lambda target: factory(target, **checked)


def triple(colour: list[float]) -> tuple[float, float, float]:
    return colour[0], colour[1], colour[2]


def moved(strokes: Strokes, device: torch.device) -> Strokes:
    parts = (strokes.control, strokes.width, strokes.opacity, strokes.colour)
    return Strokes(*(part.to(device) for part in parts))


def pixels(picture: Tensor) -> Tensor:
    """`[C, H, W]` in 0..1 -> `[H, W, 3]` uint8."""
    shades = (picture.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    return shades.expand(3, -1, -1).permute(1, 2, 0).contiguous()
