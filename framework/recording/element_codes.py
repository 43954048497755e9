"""Binary codes of a draw's elements: what depends on one of them only, and on which, by few variables.

Along each axis an element's index is written in binary, and each digit has two variables: what is made from the element
depends on the one where the digit is 1, on the other where it is 0. What is made from two elements depends on both
variables of a digit in which they differ, so that variables within the code of an element belong to it alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from framework.recording.propagation import Mask


@dataclass(frozen=True)
class ElementCode:
    """The variables of one draw: one for all its elements, and two for each digit of an index along each axis.

    Attributes:
        first: the number of its first variable.
        shape: of its elements.
    """

    first: int
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many variables it has."""
        return 1 + sum(len(digits(size)) for size in self.shape)

    def mask(self, variables: int, *, apart: bool = True) -> Mask:
        """What each element depends on, `[V, *shape]`; not `apart`: on all elements."""
        mask = torch.zeros(variables, *self.shape, dtype=torch.bool)
        if not apart:
            mask[self.first : self.first + self.count] = True
            return mask
        mask[self.first] = True
        at = self.first + 1
        for axis, size in enumerate(self.shape):
            code = digits(size)
            mask[at : at + len(code)] = along(code, axis, len(self.shape))
            at += len(code)
        return mask

    def followed(self, mask: Mask) -> tuple[int | None, ...] | None:
        """For each axis of the elements the axis of a value that follows it: None: none does.

        Element i of the value along the one axis depends on elements i along the other and on no others. No two
        axes are followed by the same one.

        Args:
            mask: `[V, *shape]`, of the value.

        Returns:
            the axes; None where the value does not depend on the draw at all.
        """
        if not mask[self.first].any():
            return None
        found: list[int | None] = []
        at = self.first + 1
        for size in self.shape:
            code = digits(size)
            own = mask[at : at + len(code)]
            at += len(code)
            axes = (
                axis
                for axis, length in enumerate(mask.shape[1:])
                if length == size > 1
                and axis not in found
                and not (own & ~along(code, axis, own.dim() - 1)).any()
            )
            found.append(next(axes, None))
        return tuple(found)


def digits(size: int) -> Mask:
    """For each index the variables that it has along an axis of this length, `[2 digits, size]`."""
    powers = torch.arange((size - 1).bit_length()).unsqueeze(1)
    ones = (torch.arange(size) >> powers) % 2 == 1
    return torch.cat([ones, ~ones])


def along(code: Mask, axis: int, axes: int) -> Mask:
    """A code with all axes, of length 1 but for its own."""
    return code.reshape(len(code), *[1] * axis, -1, *[1] * (axes - axis - 1))
