"""What several processes that train together cannot do: another training each, or wait for each other without end."""

from __future__ import annotations

import zlib
from typing import Any

import torch
from torch import Tensor, nn

from framework import ranks
from framework.batch import leaves
from framework.config.schema import Settings
from framework.errors import Elsewhere, ProgramError, UserError
from framework.program import Program

# Of a parameter or a buffer, relative to its size.
ROUNDING = 1e-4
ALIKE = "processes that train together have the same settings"
# What may differ between processes: nothing is learned by it.
OWN = ("monitor", "trainer.device", "trainer.threads")


def refuse_other_settings(settings: Settings) -> None:
    """Refuse, in all processes, to train by other settings than the first one does; folders may be machines' own.

    Raises:
        UserError: names the key, and what it is here and there.
    """
    if ranks.size() == 1:
        return
    own = flat(settings.model_dump(mode="json"))
    first = ranks.of_first(own)
    other = [key for key in {**first, **own} if differ(own.get(key), first.get(key))]
    if any(ranks.largest(bool(other))):
        if not other:
            raise Elsewhere(f"another process has other settings; {ALIKE}")
        key = other[0]
        here, there = own.get(key), first.get(key)
        raise UserError(f"{key} = {here} in process {ranks.rank()}, {there} in the first; {ALIKE}")


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Settings as one level of dotted keys, without those that are each process's own."""
    if prefix in OWN:
        return {}
    if not isinstance(node, dict):
        return {prefix: node}
    inner = (flat(value, f"{prefix}.{name}".lstrip(".")) for name, value in node.items())
    return {key: value for part in inner for key, value in part.items()}


def differ(own: Any, first: Any) -> bool:
    """Whether two settings are different ones, and not both the places of something."""
    places = [isinstance(value, str) and value.startswith(("/", "~")) for value in (own, first)]
    return not all(places) and own != first and repr(own) != repr(first)


@torch.no_grad()
def take_first_model(model: nn.Module) -> list[str]:
    """Begin with the first process's parameters and buffers; returns the names of those that were others here or there.

    Raises:
        ProgramError: they have other names or shapes.
    """
    if ranks.size() == 1:
        return []
    own = tensors_of(model)
    shapes = [(name, tuple(value.shape), str(value.dtype)) for name, value in own.items()]
    if any(ranks.largest(shapes != ranks.of_first(shapes))):
        raise ProgramError("the task makes another model in one process than in another")
    sums = torch.tensor([checksum(value) for value in own.values()], dtype=torch.float64)
    of_all = torch.stack(ranks.each(sums.to(ranks.own_device()))).cpu()
    other = [
        n for n, same in zip(own, (of_all == of_all[0]).all(0).tolist(), strict=True) if not same
    ]
    for name in other:
        own[name].copy_(ranks.of_first(own[name].cpu()))
    return other


@torch.no_grad()
def drifted(model: nn.Module) -> list[str]:
    """The names of parameters and buffers that differ between processes by more than rounding."""
    own = {name: v.double() for name, v in tensors_of(model).items() if v.is_floating_point()}
    if ranks.size() == 1 or not own:
        return []
    sizes = torch.stack([torch.stack([v.sum(), v.abs().sum()]) for v in own.values()])
    of_all = torch.stack(ranks.each(sizes.to(ranks.own_device()))).cpu()
    apart = (of_all.amax(0) - of_all.amin(0))[:, 0] > ROUNDING * of_all.amax(0)[:, 1]
    return [name for name, far in zip(own, apart.tolist(), strict=True) if far]


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """A model's parameters and buffers by name; it may keep other things."""
    return {name: v for name, v in model.state_dict().items() if isinstance(v, Tensor)}


def checksum(values: Tensor) -> int:
    flat = values.detach().cpu().contiguous().flatten()
    return zlib.crc32(flat.view(torch.uint8).numpy().tobytes())


def refuse_uneven_runs(program: Program) -> None:
    """Refuse a program that processes run more or less often, with a model that all have to run at once.

    Raises:
        ProgramError: it plays episodes, or runs once for each sample.
    """
    runs = (
        (program.recorded_trajectories, "plays episodes"),
        (
            program.one_sample_at_a_time,
            "runs one sample at a time",
        ),
    )
    for given, what in runs:
        if given:
            raise ProgramError(
                f"trainer.sharding = full: the task {what}, so that processes would run the model more or less often, "
                "and wait for each other; expected trainer.sharding=none"
            )


def refuse_same_batch(program: Program, batch: Any) -> bool:
    """Refuse to give several processes one batch: each would do the work of all.

    Raises:
        ProgramError: names what gives each its part.
    """
    if program.batch_axes or program.recorded_trajectories:
        own = 0
        for tensor in leaves(batch):
            own = zlib.crc32(checksum(tensor).to_bytes(4, "big"), own)
        first, last = ranks.largest(own, -own)
        if first == -last:
            raise ProgramError(
                f"the task gives each of {ranks.size()} processes the same batch: `batches` has to return this "
                "process's part, as framework.data.batches does (framework.ranks.part tells which)"
            )
    return True
