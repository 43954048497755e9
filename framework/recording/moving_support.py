"""Where a draw's possible values end: its log-probability does not tell that such an end moves with a parameter.

d/dt E[f(x)], x ~ Uniform(0, t), has a part f(t) / t from the values that become possible as t grows. The score function
leaves it out, because no draw lies there.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Distribution,
    ExpTransform,
    Independent,
    MixtureSameFamily,
    PowerTransform,
    SigmoidTransform,
    SoftplusTransform,
    TanhTransform,
    Transform,
    TransformedDistribution,
)

from framework.capabilities import alternatives
from framework.errors import ProgramError
from framework.recording.derivatives import carries_gradient
from framework.recording.trace import Draw

# They take a finite end to its image; so do the inverses of the first three.
INVERTIBLE = (AffineTransform, ExpTransform, PowerTransform)
TRANSFORMS = (*INVERTIBLE, SigmoidTransform, SoftplusTransform, TanhTransform)


@cache
def has_constant_support(kind: type[Distribution]) -> bool:
    """Whether the parameters leave the possible values as they are; torch declares a property where not.

    A user's own distribution that declares no support is taken to leave them so.
    """
    if kind.has_enumerate_support is True or kind.support is Distribution.support:
        return True
    return not isinstance(kind.support, property)


def refuse_moving_support(draw: Draw) -> None:
    """Raise an error where the possible values of a scored draw depend on a parameter."""
    ends = ends_of_support(draw.distribution)
    if any(carries_gradient(end) and end.isfinite().any() for end in ends):
        kind = type(draw.distribution).__name__
        path = {kind, "path"} if draw.distribution.has_rsample else {kind}
        raise ProgramError(
            f"draw '{draw.name}' ~ {kind}: which values are possible depends on a parameter, and the log-probability "
            f"used by '{draw.rule.name}' does not tell that they change; {alternatives([path], moving_support=True)}"
        )


def ends_of_support(distribution: Distribution) -> list[Tensor]:
    """Where a draw's possible values end; an end may be infinite."""
    if isinstance(distribution, Independent):
        return ends_of_support(distribution.base_dist)
    if isinstance(distribution, MixtureSameFamily):
        return ends_of_support(distribution.component_distribution)
    if type(distribution) is not TransformedDistribution:
        bounds = (
            getattr(distribution.support, f"{side}_bound", None) for side in ("lower", "upper")
        )
        return [torch.as_tensor(bound) for bound in bounds if bound is not None]
    ends = ends_of_support(distribution.base_dist)
    for transform in distribution.transforms:
        ends = [image(transform, end) for end in ends] if keeps_ends(transform) else []
    return ends


def image(transform: Transform, end: Tensor) -> Tensor:
    """Where a transformation takes an end; 0 stays at 0 whatever the scale."""
    if isinstance(transform, AffineTransform) and not end.any():
        return torch.as_tensor(transform.loc)
    moved: Tensor = transform(end)
    return moved


def keeps_ends(transform: Transform) -> bool:
    """Whether the image of an end is exact: of a logit's, which torch clamps, it is not."""
    return isinstance(transform, TRANSFORMS) or isinstance(transform.inv, INVERTIBLE)
