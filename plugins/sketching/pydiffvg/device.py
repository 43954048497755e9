"""Where scenes are rendered: the GPU where there is one, as diffvg has it, until it is told otherwise."""

from __future__ import annotations

import torch

CHOSEN: list[torch.device] = []


def get_device() -> torch.device:
    """Where pictures are rendered."""
    if CHOSEN:
        return CHOSEN[-1]
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def set_device(device: torch.device | str) -> None:
    """Render on this device from now on."""
    CHOSEN[:] = [torch.device(device)]


def get_use_gpu() -> bool:
    """Whether pictures are rendered on a GPU."""
    return get_device().type == "cuda"


def set_use_gpu(value: bool) -> None:
    """Render on the first GPU, or on the CPU."""
    set_device("cuda" if value else "cpu")


def set_print_timing(value: bool) -> None:
    """Accepted and without effect: nothing is timed here."""
