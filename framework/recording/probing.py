"""A probing run: a program run with numbers of samples and data that occur nowhere else shows what its axes count.

It draws and charges without gradient and without record, and random streams and running statistics are as before
afterwards (`framework.outside_state`). Whatever else a program does outside (a counter, a print) happens once more.

A program with a batch of data is run so once, at its first draw or cost with several explanations, and a program
without one where n occurs as another size as well; draws and costs that declare `per_sample` and `per_datum` need none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from framework.batch import leaves, map_tensors
from framework.parameters import Parameters
from framework.randomness import restore_states, save_states
from framework.recording.axes import Axes, Probe, Shape, Site, SiteAxes, unused_size

# Runs a program with the leading shape, parameters and batch given; returns the axes of its draws and costs.
DryRun = Callable[[Shape, Parameters, Any], dict[Site, Axes]]


@dataclass(eq=False)
class ProbingRun(Probe):
    """The probing run for one run of a program.

    Args:
        dry_run: runs the program.
        shape, parameters, batch: the run's; `shape` is `[n, *batch]`.
    """

    dry_run: DryRun
    shape: Shape
    parameters: Parameters
    batch: Any

    def sizes(self) -> set[int]:
        return self.other_sizes

    @cached_property
    def other_sizes(self) -> set[int]:
        """The lengths of all axes of parameters and data but the batch axes."""
        sizes = {size for value in self.parameters.values() for size in value.shape}
        for tensor in leaves(self.batch):
            sizes.update(tensor.shape[len(self.shape) - 1 :])
        return sizes

    def run(self, known: SiteAxes) -> None:
        """Note in `known` what follows n and what follows the batch.

        A function that cannot be run with other sizes of both is run so that parameters of each datum follow the
        batch, too, or with another size of samples or data alone.
        """
        states = save_states()
        try:
            for trial in self.trials():
                shown = self.at(trial)
                if shown is not None:
                    known.note(shown, trial[0] != self.shape[0], trial[1:] != self.shape[1:])
                    return
        finally:
            restore_states(states)
        known.unknown.add(self.shape)

    def trials(self) -> list[Shape]:
        """Leading shapes of sizes that occur nowhere else, the most telling first."""
        used = self.other_sizes | set(self.shape)
        sizes: list[int] = []
        for size in self.shape:
            sizes.append(unused_size(size, used | set(sizes)))
        n, *data = sizes
        if not data:
            return [(n,)]
        return [(n, *data), (n, *self.shape[1:]), (self.shape[0], *data)]

    def at(self, trial: Shape) -> dict[Site, Axes] | None:
        """The axes of each site in a run of other sizes; None: the function fails with them."""
        old, new = self.shape[1:], trial[1:]
        if old == new:
            return self.attempt(trial, {}, self.batch)
        batch = resized(self.batch, old, new)
        shown = self.attempt(trial, {}, batch)
        local = [name for name, value in self.parameters.items() if value.shape[: len(old)] == old]
        if shown is not None or not local:
            return shown
        # Some parameters are of one datum each: as few as possible.
        larger = {name: resized(self.parameters[name], old, new) for name in local}
        shown = self.attempt(trial, larger, batch)
        if shown is None:
            return None
        for name in local:
            fewer = {other: value for other, value in larger.items() if other != name}
            found = self.attempt(trial, fewer, batch)
            if found is not None:
                shown, larger = found, fewer
        return shown

    def attempt(self, shape: Shape, larger: Parameters, batch: Any) -> dict[Site, Axes] | None:
        """The axes shown by one dry run; None: the function fails."""
        parameters = {**self.parameters, **larger} if larger else self.parameters
        try:
            with torch.no_grad():
                return self.dry_run(shape, parameters, batch)
        except Exception:
            return None


def resized(batch: Any, old: Shape, new: Shape) -> Any:
    """A batch with other numbers of data: its data again from the first, as often as needed."""

    def one(tensor: Tensor) -> Tensor:
        if tuple(tensor.shape[: len(old)]) != old:
            return tensor
        for axis, size in enumerate(new):
            indices = torch.arange(size, device=tensor.device) % tensor.shape[axis]
            tensor = tensor.index_select(axis, indices)
        return tensor

    return map_tensors(one, batch)
