"""What a checkpoint gives back, checked before it is used: else an error would come much later, if at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework.errors import UserError


def check_saved(owner: str, state: Any, **kinds: Any) -> None:
    """Check that a saved state has these keys, each of its kind; further ones may be there.

    Args:
        owner: whose state it is, for messages, such as "the baseline".
        kinds: types by key, such as `dict[str, Tensor]`; nothing is converted, and annotated ranges count.

    Raises:
        UserError: a key is missing, or its value is of another kind.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    if not isinstance(state, Mapping):
        raise UserError(f"checkpoint: {owner}'s state is a {type(state).__name__}, no mapping")
    options = ConfigDict(arbitrary_types_allowed=True, strict=True)
    for key, kind in kinds.items():
        if key not in state:
            have = sorted(map(str, state))
            raise UserError(
                f"checkpoint: {owner}'s state has no '{key}', only {have}: another version saved it"
            )
        try:
            TypeAdapter(kind, config=options).validate_python(state[key])
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            place = ".".join([key, *map(str, first["loc"])])
            given = first["input"]
            shown = repr(given) if isinstance(given, bool | int | float) else type(given).__name__
            raise UserError(
                f"checkpoint: {owner}'s '{place[:80]}' is {shown[:80]}: {first['msg']}"
            ) from None
