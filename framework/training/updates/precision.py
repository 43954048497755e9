"""Mixed precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Mixed precision inside the block, unless the precision is float32."""
    dtype = PRECISIONS.get(precision)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
