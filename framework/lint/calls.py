"""What a call of a torch function does to a value that depends on a draw, and which line of the user's made it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal

from torch import Tensor

# jump: the result is constant but for jumps. sawtooth: it jumps and is not constant between. escape: it leaves torch.
# cut: it has lost its gradient, or a part of it. mix: it may bring samples together.
Effect = Literal["jump", "sawtooth", "escape", "cut", "mix"]

# Results of floating point that jump, by name without underscores. (Results of other types do whatever the function.)
STEPS = frozenset(
    [
        *("sign", "sgn", "floor", "ceil", "round", "trunc", "fix", "heaviside", "floor_divide"),
        *("floordiv", "rfloordiv", "ifloordiv", "bernoulli", "poisson", "binomial"),
        *("fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine"),
    ]
)
SAWTEETH = frozenset(
    [
        *("frac", "fmod", "remainder", "mod", "rmod", "imod", "copysign"),
        *("hardshrink", "threshold", "nextafter", "angle", "atan2", "arctan2"),
        # With mode="nearest".
        *("grid_sample", "grid_sampler"),
    ]
)
# They keep the shape, and an element of the result may depend on all along an axis.
ALONG = frozenset(
    [
        *("softmax", "log_softmax", "softmin", "normalize", "batch_norm"),
        *("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "sort", "argsort"),
        *("flip", "roll"),
        *("gather", "index_select", "take", "take_along_dim"),
        *("scatter", "scatter_add", "scatter_reduce", "index_add", "index_copy", "index_put"),
    ]
)
# They sum over an axis of two tensors: the first of the second one, the only one of the first.
PRODUCTS = frozenset(
    ["matmul", "rmatmul", "mm", "mv", "bmm", "addmm", "addmv", "einsum", "tensordot"]
)
# They draw by themselves from what they are given, and torch's derivative of that is zero or none.
SAMPLERS = frozenset(["bernoulli", "binomial", "multinomial", "normal", "poisson"])
DECISIONS = frozenset(["__bool__", "__int__", "__index__", "is_nonzero", "equal", "allclose"])
ESCAPES = frozenset(["item", "tolist", "numpy", "__array__", "__float__", "__complex__"])
# Of those: what is taken out belongs to one element.
ONE_NUMBER = frozenset(["item", "__float__", "__complex__"])
# They take a tensor's shape and none of its values.
SHAPES = frozenset(
    [
        *("zeros_like", "ones_like", "empty_like", "rand_like", "randn_like", "randint_like"),
        *("new_zeros", "new_ones", "new_empty"),
    ]
)
# Nor do these, but for the values to fill with; or they are not finite where the tensor is not.
HARMLESS = SHAPES | {"full_like", "new_full", "new_tensor", "isnan", "isfinite", "isinf"}
# Between the user's line and the function mode.
DISPATCH = ("torch._tensor", "torch.overrides", "torch.functional", "torch.utils._contextlib")
# Functions and modules of the user's choice, such as `nn.Hardshrink`.
NETWORKS = ("torch.nn.functional", "torch.nn.modules.")
# And between it and a sampler: `Normal(mean, 1).sample()` calls `torch.normal`.
LAWS = ("torch.distributions.", "torch.nn.init")


@dataclass(frozen=True)
class Call:
    """A call in the user's program that may make the gradient miss something.

    Attributes:
        name: the torch function's.
        line: `file:number`.
    """

    effect: Effect
    name: str
    line: str

    def __str__(self) -> str:
        return f"`{self.name.strip('_')}` at {self.line}"


def name_of(function: Any) -> str:
    """A torch function's name; `x.data` is called as the getter of an attribute."""
    name = str(getattr(function, "__name__", ""))
    return getattr(function.__self__, "__name__", name) if name == "__get__" else name


def effect_of(
    name: str, kwargs: dict[str, Any], outputs: list[Tensor], lost: bool
) -> Effect | None:
    """What a call does to floating-point inputs; `lost`: they had a gradient and no output has one."""
    if name in HARMLESS:
        return None
    plain = name.strip("_")
    if name in DECISIONS or plain in STEPS or kwargs.get("rounding_mode"):
        return "jump"
    if plain in SAWTEETH:
        return "sawtooth"
    if name in ESCAPES:
        return "escape"
    if is_straight_through(name, kwargs):
        return "cut"
    if any(not output.is_floating_point() and not output.is_complex() for output in outputs):
        return "jump"
    return "cut" if lost and outputs else None


def is_straight_through(name: str, kwargs: dict[str, Any]) -> bool:
    """Whether a call returns one value and has the gradient of another."""
    return name == "gumbel_softmax" and bool(kwargs.get("hard"))


def users_line() -> str | None:
    """The file and line that called torch; None where torch or the framework did."""
    return line_of(behind(lambda module, _: module in DISPATCH or module.startswith(NETWORKS)))


def own_draw(name: str) -> Call | None:
    """The user's call that draws by itself: this one, or `sample` of a distribution, inside which it is made."""
    sampling = name.strip("_") in SAMPLERS

    def passes(module: str, function: str) -> bool:
        nonlocal name, sampling
        inside = module.startswith(LAWS)
        if inside and function == "sample":
            name, sampling = function, True
        return inside or module in DISPATCH

    line = line_of(behind(passes))
    return Call("cut", name, line) if sampling and line else None


def own_line() -> str | None:
    """The user's line that made a call, directly or by a distribution of torch's."""
    return line_of(behind(lambda module, _: module.startswith(LAWS) or module in DISPATCH))


def behind(passes: Callable[[str, str], bool]) -> FrameType | None:
    """The nearest caller outside this check that is not to be passed over, by its module and its function."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (
        module_of(frame).startswith("framework.lint.")
        or passes(module_of(frame), frame.f_code.co_name)
    ):
        frame = frame.f_back
    return frame


def line_of(frame: FrameType | None) -> str | None:
    if frame is None or module_of(frame).partition(".")[0] in ("torch", "framework"):
        return None
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
