"""A variational autoencoder with discrete latents: a digit is written in bits, or in letters, and read back.

minimise  E_q(z|x)[-log p(x|z)] + KL(q(z|x) || p(z)),    the negative evidence lower bound (ELBO) in nats

The code z is sampled from the encoder q, so any estimator of discrete samples can differentiate it; the divergence is
known in closed form and is not attributed to any sample. With `importance_weighted` the bound is -log of the mean
weight p(x, z) / q(z|x) over all samples, tighter and harder to differentiate. (Kingma & Welling 2014; bits: Mnih &
Gregor 2014; letters: Jang et al. 2017; importance weights: Burda et al. 2016.)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import Bernoulli, OneHotCategorical, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits

from framework import Context, Image, Program, Task
from framework.config.types import Count
from framework.data import Order
from framework.task import Split
from plugins.teaching.digits import load_digits
from plugins.teaching.plot import rows_of_digits

# Digits in a row of the pictures.
DIGITS_SHOWN = 12

Latent = Bernoulli | OneHotCategorical


class Autoencoder(nn.Module):
    """One hidden layer on either side, and a learnt prior.

    Args:
        numbers: logits that describe the latents: D for bits, D * K for letters.
        brightness: the mean of each pixel `[P]`, the decoder's initial output.
    """

    def __init__(self, numbers: int, hidden: int, brightness: Tensor) -> None:
        super().__init__()
        pixels = len(brightness)
        self.encoder = nn.Sequential(
            nn.Linear(pixels, hidden), nn.Tanh(), nn.Linear(hidden, numbers)
        )
        self.decoder = nn.Sequential(
            nn.Linear(numbers, hidden), nn.Tanh(), nn.Linear(hidden, pixels)
        )
        self.prior = nn.Parameter(torch.zeros(numbers))
        last = self.decoder[2]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.bias.copy_(brightness.clamp(0.02, 0.98).logit())


class DigitsAutoencoder(Task):
    """Write handwritten digits in bits or letters and read them back."""

    model: Autoencoder
    batch_axes: ClassVar[int] = 1
    primary_metric: ClassVar[str] = "negative_elbo"

    def __init__(
        self,
        *,
        latent: Literal["bernoulli", "categorical"] = "bernoulli",
        latents: Count = 20,
        categories: Annotated[int, Field(ge=2)] = 8,
        hidden: Count = 64,
        batch_size: Count = 64,
        evaluation_samples: Count = 16,
        importance_weighted: bool = False,
        folder: str | None = None,
    ) -> None:
        self.digits = load_digits(None if folder is None else Path(folder))
        self.latent = latent
        self.shape = (latents,) if latent == "bernoulli" else (latents, categories)
        numbers = latents * (1 if latent == "bernoulli" else categories)
        self.model = Autoencoder(numbers, hidden, self.digits.train.mean(0))
        self.batch_size = min(batch_size, len(self.digits.train))
        self.evaluation_samples = evaluation_samples
        self.importance_weighted = importance_weighted

    def objective(self, context: Context, batch: Tensor) -> None:
        """The negative ELBO of digits `[B, P]`, or the importance-weighted one."""
        posterior, prior = self.posterior(batch), self.prior(len(batch))
        # `[n, B, D]` or `[n, B, D, K]`.
        z = context.sample("z", posterior)
        surprise = self.surprise(z, batch)
        if self.importance_weighted:
            # `[n, B]`.
            ratio = (prior.log_prob(z) - posterior.log_prob(z)).sum(-1)
            context.bound(ratio - surprise)
        else:
            context.cost(surprise, "reconstruction")
            context.penalty(kl_divergence(posterior, prior).sum(-1), "divergence")

    def posterior(self, digits: Tensor) -> Latent:
        """q(z|x), of batch shape `[B, D]`."""
        return self.distribution(self.model.encoder(digits))

    def prior(self, count: int) -> Latent:
        """p(z) for `count` digits, of batch shape `[count, D]`."""
        return self.distribution(self.model.prior.expand(count, -1))

    def distribution(self, logits: Tensor) -> Latent:
        logits = logits.unflatten(-1, self.shape)
        if self.latent == "bernoulli":
            # Unvalidated: relaxed bits have a density, too.
            return Bernoulli(logits=logits, validate_args=False)
        return OneHotCategorical(logits=logits, validate_args=False)

    def read(self, z: Tensor) -> Tensor:
        """Decode latents `[..., D]` or `[..., D, K]` to the logits of pixels, `[..., P]`."""
        logits: Tensor = self.model.decoder(2 * z.flatten(-len(self.shape)) - 1)
        return logits

    def surprise(self, z: Tensor, digits: Tensor) -> Tensor:
        """-log p(x|z), `[n, B]`, of latents `[n, B, ...]` and digits `[B, P]`."""
        logits = self.read(z)
        return binary_cross_entropy_with_logits(
            logits, digits.expand_as(logits), reduction="none"
        ).sum(-1)

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Tensor]:
        """Shuffled digits `[B, P]`; batch number k is the same wherever a run begins."""
        for chosen in Order(len(self.digits.train), self.batch_size, seed, start):
            yield self.digits.train[[index for _, index in chosen]]

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """The negative ELBO of held-out digits and its two parts, in nats per digit."""
        digits = self.digits.held_out.to(self.device)
        generator = torch.Generator(self.device).manual_seed(seed)
        posterior = self.posterior(digits)
        surprises = [
            self.surprise(self.sample(posterior, generator), digits).mean()
            for _ in range(self.evaluation_samples)
        ]
        reconstruction = torch.stack(surprises).mean().item()
        divergence = kl_divergence(posterior, self.prior(len(digits))).sum(-1).mean().item()
        return {
            "negative_elbo": reconstruction + divergence,
            "reconstruction": reconstruction,
            "divergence": divergence,
        }

    def sample(self, latent: Latent, generator: torch.Generator) -> Tensor:
        """One sample, from the given generator."""
        if isinstance(latent, Bernoulli):
            return torch.bernoulli(latent.probs, generator=generator)
        flat = latent.probs.flatten(0, -2)
        index = torch.multinomial(flat, 1, generator=generator)
        return torch.zeros_like(flat).scatter(-1, index, 1.0).reshape(latent.probs.shape)

    def show(self, seed: int) -> Iterator[Image]:
        """Held-out digits above their reconstructions, and samples from the prior."""
        generator = torch.Generator(self.device).manual_seed(seed)
        size = (self.digits.height, self.digits.width)
        digits = self.digits.held_out[:DIGITS_SHOWN].to(self.device)
        read = self.read(self.sample(self.posterior(digits), generator)).sigmoid()
        yield Image("reconstructions", rows_of_digits([digits, read], size))
        prior = self.prior(DIGITS_SHOWN)
        invented = [self.read(self.sample(prior, generator)).sigmoid() for _ in range(3)]
        yield Image("samples", rows_of_digits(invented, size))
