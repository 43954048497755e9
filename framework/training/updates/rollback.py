"""Rollback: a model's buffers, such as running means, as they were before a step whose gradient is not finite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Rollback:
    """A copy of the model's buffers, taken after each good step."""

    def __init__(self, model: nn.Module) -> None:
        self.buffers = list(model.buffers())
        self.before = [buffer.clone() for buffer in self.buffers]

    def keep(self) -> None:
        """Take the buffers as they are for the ones to go back to."""
        if self.buffers:
            torch._foreach_copy_(self.before, self.buffers)

    @torch.no_grad()
    def keep_unless(self, wrong: Tensor) -> None:
        """`restore` where `wrong` is true, else `keep`: decided on the device."""
        for before, now in zip(self.before, self.buffers, strict=True):
            before.copy_(torch.where(wrong, before, now))
            now.copy_(before)

    def restore(self) -> None:
        """Put the kept buffers back into the model."""
        if self.buffers:
            torch._foreach_copy_(self.buffers, self.before)

    @contextmanager
    def keeping_changes(self) -> Iterator[None]:
        """What changes inside the block, such as statistics of observations, survives a later `restore`."""
        versions = [buffer._version for buffer in self.buffers]
        yield
        for before, now, version in zip(self.before, self.buffers, versions, strict=True):
            if now._version != version:
                before.copy_(now)
