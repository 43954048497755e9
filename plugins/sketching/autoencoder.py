"""A sketch autoencoder: picture -> encoder -> strokes -> raster: a network learns to draw without seeing a stroke.

The only supervision is the rasteriser's gradient (Mihai & Hare 2021). The decoder outputs all strokes at once, or one
after another with a GRU that remembers what it has drawn. The variational option samples the latent code from
Normal(mean, deviation) with the usual KL term, so that new pictures can be drawn from noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from framework import Context, Image, Program, Task, Text
from framework.config.types import Count, NonNegative, Positive
from framework.media import Media
from framework.randomness import generator
from framework.task import Split
from plugins.sketching.images.digits import Images, load_images, load_ink
from plugins.sketching.images.photo import blurred, pictures_in, readable
from plugins.sketching.raster.render import render
from plugins.sketching.strokes.canvas import Style
from plugins.sketching.strokes.drawing import Strokes
from plugins.sketching.strokes.primitives import Name, primitive
from plugins.sketching.svg import writing

# How many times larger than the pictures drawings are shown.
ENLARGEMENT = 4


# Between which the logarithm of a code's deviation lies.
DEVIATIONS = (-6.0, 2.0)


class Encoder(nn.Module):
    """Pictures `[..., H, W]` -> the mean and the logarithm of the deviation of the code, `[..., latent]` each."""

    def __init__(self, side: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(-2),
            nn.Linear(side * side, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 2 * latent),
        )

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_deviation = self.layers(pictures).chunk(2, -1)
        return mean, bounded(log_deviation, *DEVIATIONS)


class Decoder(nn.Module):
    """A code `[..., latent]` -> the features of all strokes at once, `[..., strokes, features]`."""

    def __init__(self, latent: int, hidden: int, strokes: int, features: int) -> None:
        super().__init__()
        self.strokes = strokes
        self.layers = nn.Sequential(
            nn.Linear(latent, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, strokes * features),
        )

    def forward(self, code: Tensor) -> Tensor:
        return self.layers(code).unflatten(-1, (self.strokes, -1))  # type: ignore[no-any-return]


class RecurrentDecoder(nn.Module):
    """The same, one stroke after another: a GRU whose inputs are the code, its last stroke and the stroke's number.

    Without the number all strokes begin alike, and must be told apart through the memory alone.
    """

    def __init__(self, latent: int, hidden: int, strokes: int, features: int) -> None:
        super().__init__()
        self.strokes, self.features = strokes, features
        self.begin = nn.Linear(latent, hidden)
        self.cell = nn.GRUCell(latent + features + strokes, hidden)
        self.stroke = nn.Sequential(
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, features)
        )

    def forward(self, code: Tensor) -> Tensor:
        flat = code.reshape(-1, code.shape[-1])
        memory = torch.tanh(self.begin(flat))
        drawn = flat.new_zeros(len(flat), self.features)
        numbers = torch.eye(self.strokes, dtype=flat.dtype, device=flat.device)
        strokes = []
        for number in numbers:
            known = torch.cat([flat, drawn.tanh(), number.expand(len(flat), -1)], -1)
            memory = self.cell(known, memory)
            drawn = self.stroke(memory)
            strokes.append(drawn)
        return torch.stack(strokes, 1).reshape(*code.shape[:-1], self.strokes, self.features)


class Autoencoder(nn.Module):
    """Encoder and decoder."""

    def __init__(self, encoder: Encoder, decoder: Decoder | RecurrentDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder


class SketchAutoencoder(Task):
    """Learn to draw small pictures such as handwritten digits, stroke by stroke."""

    model: Autoencoder
    batch_axes: ClassVar[int] = 1
    primary_metric: ClassVar[str] = "squared_error"
    metric_descriptions: ClassVar[Mapping[str, str]] = {
        "squared_error": "mean squared error of held-out pictures",
        "recognised": "share of their drawings that a classifier of pictures recognises",
        "recognised_originals": "share of the pictures themselves that it recognises",
    }

    def __init__(
        self,
        *,
        images: str = "digits",
        size: Annotated[int, Field(ge=8, le=256)] = 24,
        max_images: Count = 20_000,
        held_out: Annotated[float, Field(gt=0, lt=1)] = 0.2,
        batch_size: Count = 64,
        strokes: Count = 6,
        primitive: Name = "quadratic",
        control_points: Annotated[int, Field(ge=2, le=16)] = 4,
        width: Positive = 1.5,
        hidden: Count = 256,
        latent_size: Count = 64,
        decoder: Literal["all", "recurrent"] = "all",
        variational: bool = False,
        kl_weight: NonNegative = 1e-4,
        blur: NonNegative = 1.0,
    ) -> None:
        self.size, self.batch_size, self.width = size, batch_size, width
        self.variational, self.kl_weight, self.blur = variational, kl_weight, blur
        self.kind = stroke_kind(primitive, controls=control_points)
        self.learned, self.held = load_images(images, size, max_images).split(held_out, seed=0)
        # Coordinates, width, opacity.
        features = 2 * self.kind.controls + 2
        decoder_class = RecurrentDecoder if decoder == "recurrent" else Decoder
        self.model = Autoencoder(
            Encoder(size, hidden, latent_size),
            decoder_class(latent_size, hidden, strokes, features),
        )

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Tensor]:
        """Pictures `[B, H, W]`, sampled with replacement."""
        number = start
        while True:
            draw = generator(seed, "batch", number)
            which = torch.randint(len(self.learned.pictures), (self.batch_size,), generator=draw)
            yield self.learned.pictures[which]
            number += 1

    def objective(self, context: Context, batch: Tensor) -> None:
        """How far the drawings are from the pictures, sharp and blurred."""
        mean, log_deviation = self.model.encoder(batch)
        code = mean
        if self.variational:
            posterior = Normal(mean, log_deviation.exp())
            # `[n, B, latent]`.
            code = context.sample("code", posterior, per_sample=False, per_datum=True)
            prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
            context.penalty(self.kl_weight * kl_divergence(posterior, prior), "kl")
        context.cost(self.distance(self.render(code), batch))

    def distance(self, drawings: Tensor, pictures: Tensor) -> Tensor:
        """Squared error plus that of blurred pictures, `[..., H, W]` -> `[...]`."""
        difference = drawings - pictures
        near = difference.square().mean((-2, -1))
        if self.blur == 0:
            return near
        return near + blurred(difference, self.blur).square().mean((-2, -1))

    def strokes(self, code: Tensor) -> Strokes:
        """The strokes of codes `[..., latent]`, in pixels; control points lie on the canvas."""
        features = self.model.decoder(code)
        places = torch.sigmoid(features[..., :-2]).unflatten(-1, (-1, 2)) * self.size
        width = self.width * (0.5 + torch.sigmoid(features[..., -2]))
        opacity = torch.sigmoid(features[..., -1] + 2)
        return Strokes(places, width, opacity, torch.zeros(3, device=code.device))

    def render(self, code: Tensor) -> Tensor:
        """The ink of codes `[..., latent]`: `[..., H, W]`."""
        strokes = self.strokes(code)
        lines = self.kind.vertices(strokes.control)
        return render(lines, strokes.width, self.size, opacity=strokes.opacity)

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """Error on held-out pictures, and the fraction of their drawings that a classifier of pictures recognises."""
        pictures = self.held.pictures.to(self.device)
        drawn = self.render(self.model.encoder(pictures)[0])
        metrics = {"squared_error": float((drawn - pictures).square().mean())}
        if self.held.labels is not None:
            labels = self.held.labels
            metrics["recognised"] = accuracy(self.learned, drawn.cpu(), labels)
            metrics["recognised_originals"] = accuracy(self.learned, self.held.pictures, labels)
        return metrics

    def show(self, seed: int) -> Iterator[Image | Text]:
        """Held-out pictures above their drawings; with a prior, drawings from noise; one drawing as SVG."""
        pictures = self.held.pictures[:12].to(self.device)
        code = self.model.encoder(pictures)[0]
        rows = [row_of(enlarged(pictures)), row_of(self.render_large(code))]
        if self.variational:
            draw = torch.Generator().manual_seed(seed)
            rows.append(row_of(self.render_large(torch.randn(code.shape, generator=draw).to(code))))
        yield Image("drawings", torch.cat(rows).numpy())
        yield Text("drawing", self.svg_of(code[0]), ".svg")

    def predict(self, source: Path | None, seed: int) -> Iterator[Media]:
        """Each picture of a file or folder beside the network's drawing of it, and the drawing as SVG.

        Without a source, what `show` yields.

        Raises:
            UserError: there is no readable picture.
        """
        if source is None:
            yield from self.show(seed)
            return
        for name, ink in readable(pictures_in(source), lambda file: load_ink(file, self.size)):
            ink = ink.to(self.device)[None]
            code = self.model.encoder(ink)[0]
            yield Image(
                name, torch.cat([row_of(enlarged(ink)), row_of(self.render_large(code))], 1).numpy()
            )
            yield Text(name, self.svg_of(code[0]), ".svg")

    def svg_of(self, code: Tensor) -> str:
        """The drawing of one code `[latent]` as SVG."""
        drawn = self.strokes(code)
        style = Style("soft_or", False, False, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
        black = drawn.control.new_zeros(len(drawn.width), 3)
        strokes = Strokes(drawn.control, drawn.width, drawn.opacity, black)
        return writing.write(strokes, self.kind, (self.size, self.size), style)

    def render_large(self, code: Tensor, scale: int = ENLARGEMENT) -> Tensor:
        """The ink of codes on a canvas `scale` times as large."""
        strokes = self.strokes(code)
        lines = self.kind.vertices(strokes.control * scale)
        return render(lines, strokes.width * scale, self.size * scale, opacity=strokes.opacity)


def bounded(value: Tensor, low: float, high: float) -> Tensor:
    """A value in about low..high, nearly itself between them; its gradient never vanishes (Chua et al. 2018, A.1)."""
    below = high - functional.softplus(high - value)
    return low + functional.softplus(below - low)


# The function that the option `primitive` hides.
stroke_kind = primitive


def accuracy(known: Images, pictures: Tensor, labels: Tensor, neighbours: int = 3) -> float:
    """The fraction of pictures that their nearest neighbours among known originals classify correctly."""
    assert known.labels is not None
    one, other = (blurred(p, 1.0).flatten(1) for p in (pictures, known.pictures))
    one, other = functional.normalize(one, dim=1), functional.normalize(other, dim=1)
    nearest = (one @ other.T).topk(neighbours, 1).indices
    return float((known.labels[nearest].mode(1).values == labels).float().mean())


def row_of(ink: Tensor) -> Tensor:
    """Ink `[N, H, W]` side by side as pixels `[H, N W, 3]` of uint8."""
    shades = ((1 - ink).clamp(0, 1) * 255).to(torch.uint8).cpu()
    row = torch.cat(list(shades), 1)
    return row.unsqueeze(-1).expand(-1, -1, 3).contiguous()


def enlarged(ink: Tensor) -> Tensor:
    """Each pixel of `[N, H, W]` as a square of `ENLARGEMENT` by `ENLARGEMENT` pixels."""
    return ink.repeat_interleave(ENLARGEMENT, -1).repeat_interleave(ENLARGEMENT, -2)
