"""Numbers that a program takes out of torch, changed a little to see whether a cost depends on them."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from framework.lint.calls import Call, name_of, users_line


class ShiftedNumbers(TorchFunctionMode):
    """Changes what the calls at one line of the user's take out of torch: `.item()`, `float(x)`, `.tolist()`."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if name_of(function) == self.call.name and users_line() == self.call.line:
            return shifted(result)
        return result


def shifted(result: Any) -> Any:
    """Another number near each of those given, in lists of any depth."""
    if isinstance(result, list):
        return [shifted(item) for item in result]
    if isinstance(result, float | complex | Tensor):
        return 1.01 * result + 0.001
    return result
