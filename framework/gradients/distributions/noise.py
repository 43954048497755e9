"""Standard noise for discrete draws, all of it finite: -log(-log u) is infinite where a uniform draw u is 0 or 1."""

from __future__ import annotations

import torch
from torch import Tensor


def uniform_noise(like: Tensor) -> Tensor:
    """Uniform draws of the shape of `like`, at least in single precision, clear of 0 and 1."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    limits = torch.finfo(dtype)
    uniform = torch.rand(like.shape, dtype=dtype, device=like.device)
    return uniform.clamp(limits.tiny, 1 - limits.eps / 2)


def gumbel_noise(like: Tensor) -> Tensor:
    """Standard Gumbel draws -log(-log u) of the shape of `like`."""
    return -(-uniform_noise(like).log()).log()


def logistic_noise(like: Tensor) -> Tensor:
    """Standard logistic draws log u - log(1 - u) of the shape of `like`."""
    return torch.logit(uniform_noise(like))
