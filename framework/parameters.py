"""The parameters that a program is run with, and how they are put into a model for the length of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

Parameters = Mapping[str, Tensor]


@contextmanager
def placed(model: nn.Module, parameters: Parameters) -> Iterator[None]:
    """Put `parameters` into `model` for the length of a block, then put the model's own back.

    Gradients flow to the given tensors. Tied parameters are placed under each of their names.
    """
    owned: list[tuple[nn.Module, str, nn.Parameter]] = []
    given = {
        id(own): parameters[name] for name, own in model.named_parameters() if name in parameters
    }
    for module in model.modules():
        for leaf, own in module._parameters.items():
            if own is not None and id(own) in given:
                owned.append((module, leaf, own))
    try:
        for module, leaf, own in owned:
            module._parameters[leaf] = given[id(own)]  # type: ignore[assignment]
        yield
    finally:
        for module, leaf, own in owned:
            module._parameters[leaf] = own
