"""A sketch autoencoder: picture -> encoder -> strokes -> raster: a network learns to draw without seeing a stroke.

Nobody tells it where strokes belong; the rasteriser's gradient does (Mihai & Hare 2021). The decoder gives all strokes
at once, or one after another with a GRU that remembers what it drew. The variational option draws the latent code
from Normal(mean, deviation) with the usual KL term, so that new pictures can be drawn from noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from framework import Context, Image, Program, Task, Text
from framework.media import Media
from framework.randomness import generator
from framework.task import Split
from plugins.sketching.images.digits import Images, load_images, load_ink
from plugins.sketching.images.photo import blurred, pictures_in, readable
from plugins.sketching.raster.render import render
from plugins.sketching.strokes.drawing import Strokes, Style
from plugins.sketching.strokes.primitives import Name, primitive
from plugins.sketching.svg import writing

Count = Annotated[int, Field(ge=1)]
Width = Annotated[float, Field(gt=0)]

LARGER = 4  # times the pictures' size, where drawings are shown


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
        return mean, log_deviation.clamp(-6, 2)


class Decoder(nn.Module):
    """A code `[..., latent]` -> numbers for each stroke, `[..., strokes, numbers]`, all at once."""

    def __init__(self, latent: int, hidden: int, strokes: int, numbers: int) -> None:
        super().__init__()
        self.strokes = strokes
        self.layers = nn.Sequential(
            nn.Linear(latent, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, strokes * numbers),
        )

    def forward(self, code: Tensor) -> Tensor:
        return self.layers(code).unflatten(-1, (self.strokes, -1))  # type: ignore[no-any-return]


class RecurrentDecoder(nn.Module):
    """The same, one stroke after another: a GRU is told the code and what it drew last."""

    def __init__(self, latent: int, hidden: int, strokes: int, numbers: int) -> None:
        super().__init__()
        self.strokes, self.numbers = strokes, numbers
        self.begin = nn.Linear(latent, hidden)
        self.cell = nn.GRUCell(latent + numbers, hidden)
        self.stroke = nn.Linear(hidden, numbers)

    def forward(self, code: Tensor) -> Tensor:
        flat = code.reshape(-1, code.shape[-1])
        memory = torch.tanh(self.begin(flat))
        drawn = flat.new_zeros(len(flat), self.numbers)
        strokes = []
        for _ in range(self.strokes):
            memory = self.cell(torch.cat([flat, drawn.tanh()], -1), memory)
            drawn = self.stroke(memory)
            strokes.append(drawn)
        return torch.stack(strokes, 1).reshape(*code.shape[:-1], self.strokes, self.numbers)


class Autoencoder(nn.Module):
    """Both halves."""

    def __init__(self, encoder: Encoder, decoder: Decoder | RecurrentDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder


class SketchAutoencoder(Task):
    """Learn to draw small pictures such as handwritten digits, stroke by stroke."""

    model: Autoencoder
    batch_axes: ClassVar[int] = 1
    primary_metric: ClassVar[str] = "squared_error"

    def __init__(
        self,
        *,
        images: str = "digits",
        side: Annotated[int, Field(ge=8, le=256)] = 24,
        most: Count = 20_000,
        held_out: Annotated[float, Field(gt=0, lt=1)] = 0.2,
        batch: Count = 64,
        strokes: Count = 6,
        primitive: Name = "quadratic",
        controls: Annotated[int, Field(ge=2, le=16)] = 4,
        width: Width = 1.5,
        hidden: Count = 256,
        latent: Count = 64,
        decoder: Literal["all", "recurrent"] = "all",
        variational: bool = False,
        kl_weight: Annotated[float, Field(ge=0)] = 1e-4,
        blur: Annotated[float, Field(ge=0)] = 1.0,
    ) -> None:
        self.side, self.batch, self.width = side, batch, width
        self.variational, self.kl_weight, self.blur = variational, kl_weight, blur
        self.kind = stroke_kind(primitive, controls=controls)
        self.learned, self.held = load_images(images, side, most).split(held_out, seed=0)
        numbers = 2 * self.kind.controls + 2  # coordinates, width, opacity
        made = RecurrentDecoder if decoder == "recurrent" else Decoder
        self.model = Autoencoder(
            Encoder(side, hidden, latent), made(latent, hidden, strokes, numbers)
        )

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Tensor]:
        """Pictures `[B, H, W]`, drawn with replacement."""
        number = start
        while True:
            draw = generator(seed, "batch", number)
            which = torch.randint(len(self.learned.pictures), (self.batch,), generator=draw)
            yield self.learned.pictures[which]
            number += 1

    def objective(self, context: Context, batch: Tensor) -> None:
        """How far the drawings are from the pictures, sharp and blurred."""
        mean, log_deviation = self.model.encoder(batch)
        code = mean
        if self.variational:
            posterior = Normal(mean, log_deviation.exp())
            code = context.sample("code", posterior)  # [n, B, latent]
            prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
            context.penalty(self.kl_weight * kl_divergence(posterior, prior), "kl")
        drawn = self.draw(code)
        context.cost(self.distance(drawn, batch))

    def distance(self, drawn: Tensor, pictures: Tensor) -> Tensor:
        """Squared error plus that of blurred pictures, `[..., H, W]` -> `[...]`."""
        difference = drawn - pictures
        near = difference.square().mean((-2, -1))
        if self.blur == 0:
            return near
        return near + blurred(difference, self.blur).square().mean((-2, -1))

    def strokes(self, code: Tensor) -> Strokes:
        """The strokes of codes `[..., latent]`, in pixels; control points lie on the canvas."""
        numbers = self.model.decoder(code)
        places = torch.sigmoid(numbers[..., :-2]).unflatten(-1, (-1, 2)) * self.side
        width = self.width * (0.5 + torch.sigmoid(numbers[..., -2]))
        opacity = torch.sigmoid(numbers[..., -1] + 2)
        return Strokes(places, width, opacity, torch.zeros(3, device=code.device))

    def draw(self, code: Tensor) -> Tensor:
        """The ink of codes `[..., latent]`: `[..., H, W]`."""
        strokes = self.strokes(code)
        lines = self.kind.vertices(strokes.control)
        return render(lines, strokes.width, self.side, opacity=strokes.opacity)

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """Error on held-out pictures, and how many of their drawings a classifier of pictures recognises."""
        pictures = self.held.pictures.to(self.device)
        drawn = self.draw(self.model.encoder(pictures)[0])
        metrics = {"squared_error": float((drawn - pictures).square().mean())}
        if self.held.labels is not None:
            labels = self.held.labels
            metrics["recognised"] = accuracy(self.learned, drawn.cpu(), labels)
            metrics["recognised_originals"] = accuracy(self.learned, self.held.pictures, labels)
        return metrics

    def show(self, seed: int) -> Iterator[Image | Text]:
        """Held-out pictures over their drawings; where there is a prior, drawings from noise; one drawing as SVG."""
        pictures = self.held.pictures[:12].to(self.device)
        code = self.model.encoder(pictures)[0]
        rows = [row_of(enlarged(pictures)), row_of(self.draw_large(code))]
        if self.variational:
            draw = torch.Generator().manual_seed(seed)
            rows.append(row_of(self.draw_large(torch.randn(code.shape, generator=draw).to(code))))
        yield Image("drawings", torch.cat(rows).numpy())
        yield Text("drawing", self.svg_of(code[0]), ".svg")

    def predict(self, source: Path | None, seed: int) -> Iterator[Media]:
        """Each picture of a file or folder beside the network's drawing of it, and the drawing as SVG.

        Without a source, what is shown: pictures held out, and drawings from noise where there is a prior.

        Raises:
            UserError: there is no readable picture.
        """
        if source is None:
            yield from self.show(seed)
            return
        for name, ink in readable(pictures_in(source), lambda file: load_ink(file, self.side)):
            ink = ink.to(self.device)[None]
            code = self.model.encoder(ink)[0]
            yield Image(
                name, torch.cat([row_of(enlarged(ink)), row_of(self.draw_large(code))], 1).numpy()
            )
            yield Text(name, self.svg_of(code[0]), ".svg")

    def svg_of(self, code: Tensor) -> str:
        """The drawing of one code `[latent]` as SVG."""
        drawn = self.strokes(code)
        style = Style("soft_or", False, False, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
        black = drawn.control.new_zeros(len(drawn.width), 3)
        strokes = Strokes(drawn.control, drawn.width, drawn.opacity, black)
        return writing.write(strokes, self.kind, (self.side, self.side), style)

    def draw_large(self, code: Tensor, scale: int = LARGER) -> Tensor:
        """The ink of codes on a canvas `scale` times as large."""
        strokes = self.strokes(code)
        lines = self.kind.vertices(strokes.control * scale)
        return render(lines, strokes.width * scale, self.side * scale, opacity=strokes.opacity)


stroke_kind = primitive  # the name that the option `primitive` hides


def accuracy(known: Images, pictures: Tensor, labels: Tensor, neighbours: int = 3) -> float:
    """The share of pictures that their three nearest neighbours among known originals put right."""
    assert known.labels is not None
    one, other = (blurred(p, 1.0).flatten(1) for p in (pictures, known.pictures))
    one, other = functional.normalize(one, dim=1), functional.normalize(other, dim=1)
    nearest = (one @ other.T).topk(neighbours, 1).indices
    return float((known.labels[nearest].mode(1).values == labels).float().mean())


def row_of(ink: Tensor) -> Tensor:
    """Ink `[N, H, W]` side by side as pixels `[H, N W, 3]`."""
    shades = ((1 - ink).clamp(0, 1) * 255).to(torch.uint8).cpu()
    row = torch.cat(list(shades), 1)
    return row.unsqueeze(-1).expand(-1, -1, 3).contiguous()


def enlarged(ink: Tensor) -> Tensor:
    """Each pixel of `[N, H, W]` as a square of `LARGER` pixels a side."""
    return ink.repeat_interleave(LARGER, -1).repeat_interleave(LARGER, -2)
