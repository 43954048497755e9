"""Activation checkpointing: what the blocks of a model have computed is computed again on the way back, not kept.

Source: Chen et al. 2016, "Training deep nets with sublinear memory cost"; `torch.utils.checkpoint`.
"""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from framework.errors import UserError
from framework.sharding import blocks


def recompute(model: nn.Module) -> None:
    """Let each block of a model keep its inputs only.

    Raises:
        UserError: the model has no blocks, or one whose second run would count twice in running statistics.
    """
    found = blocks(model)
    if not found:
        raise UserError(
            "trainer.activation_checkpointing = True: the model has no large elements of a list or sequence of "
            "modules (torch.nn.Sequential, torch.nn.ModuleList) to compute again"
        )
    for block in found:
        if counted := [name for name, _ in block.named_buffers() if "running" in name]:
            raise UserError(
                "trainer.activation_checkpointing = True: the model's batch normalisation has running statistics "
                f"('{counted[0]}'), in which a block that is computed again would count twice"
            )
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def keep(model: nn.Module) -> None:
    """Let the blocks of a model keep what they compute again: it is trained, and may be exported."""
    for module in model.modules():
        if getattr(module.__dict__.get("forward"), "func", None) is checkpoint:
            del module.forward
