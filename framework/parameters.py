"""The parameters that a program is run with, and how they are put into a model during a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from framework.errors import ProgramError

Parameters = Mapping[str, Tensor]
# What a user may give: by name, in order (named "0", "1", ...), or a module's own.
Given = Parameters | Sequence[Tensor] | nn.Module


def named(parameters: Given) -> dict[str, Tensor]:
    """Parameters by name, as programs see them: a list's by position ("0", "1", ...), a module's by its own names.

    Raises:
        ProgramError: neither a mapping, a list, a tuple nor a module; or a value that is not a tensor.
    """
    if isinstance(parameters, nn.Module):
        return dict(parameters.named_parameters())
    if isinstance(parameters, list | tuple):
        parameters = {str(position): value for position, value in enumerate(parameters)}
    if not isinstance(parameters, Mapping):
        raise ProgramError(
            f"parameters: {type(parameters).__name__}; expected a mapping of names to tensors, a list of tensors, "
            "or a torch.nn.Module"
        )
    for name, value in parameters.items():
        if not isinstance(value, Tensor):
            raise ProgramError(
                f"parameters: '{name}' is {type(value).__name__}; expected a tensor, such as torch.tensor(...)"
            )
    return dict(parameters)


@contextmanager
def placed(model: nn.Module, parameters: Parameters) -> Iterator[None]:
    """Put `parameters` into `model` for the duration of a block, then restore the model's own.

    Gradients flow to the given tensors. Tied parameters are placed under each of their names.
    """
    owned: list[tuple[nn.Module, str, nn.Parameter]] = []
    given: dict[int, Tensor] = {}
    for prefix, module in model.named_modules():
        for leaf, own in module._parameters.items():
            if own is None:
                continue
            owned.append((module, leaf, own))
            name = f"{prefix}.{leaf}" if prefix else leaf
            # A tied parameter's name is the first one.
            if id(own) not in given and name in parameters:
                given[id(own)] = parameters[name]
    owned = [(module, leaf, own) for module, leaf, own in owned if id(own) in given]
    try:
        for module, leaf, own in owned:
            module._parameters[leaf] = given[id(own)]  # type: ignore[assignment]
        yield
    finally:
        for module, leaf, own in owned:
            module._parameters[leaf] = own


@contextmanager
def unchanged_buffers(model: nn.Module) -> Iterator[None]:
    """Restore the model's buffers, such as running statistics, after a block.

    A graph that was recorded before the block stays valid: autograd does not see that they changed.
    """
    saved = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, value in saved:
            buffer.data.copy_(value)
