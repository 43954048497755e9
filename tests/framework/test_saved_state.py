"""A saved state is checked key by key, and a wrong one is one line."""

from typing import Annotated, Any

import pytest
import torch
from pydantic import Field
from torch import Tensor

from framework.config.types import CountOrZero
from framework.errors import UserError
from framework.saved_state import check_saved

KINDS: dict[str, Any] = {
    "calls": CountOrZero,
    "means": dict[str, Tensor],
    "level": float | None,
    "pair": Annotated[list[float], Field(min_length=2, max_length=2)],
}
STATE: dict[str, Any] = {"calls": 3, "means": {"a": torch.ones(2)}, "level": None, "pair": [1, 2.5]}


def test_a_right_state_passes_and_further_keys_may_be_there():
    check_saved("the baseline", STATE, **KINDS)
    check_saved("the baseline", STATE | {"more": object()}, **KINDS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"calls": -1}, "'calls' is -1: Input should be greater than or equal to 0"),
        ({"calls": 2.0}, "'calls' is 2.0: Input should be a valid integer"),
        ({"calls": True}, "'calls' is True: Input should be a valid integer"),
        ({"calls": torch.tensor(1)}, "'calls' is Tensor: Input should be a valid integer"),
        ({"means": [1]}, "'means' is list: Input should be a valid dictionary"),
        ({"means": {"a": 1.0}}, "'means.a' is 1.0: Input should be an instance of Tensor"),
        ({"pair": [1.0]}, "'pair' is list: List should have at least 2 items after validation, not 1"),
        ({"pair": ["x", 1]}, "'pair.0' is str: Input should be a valid number"),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_named_in_one_line(change, said):
    with pytest.raises(UserError) as raised:
        check_saved("the baseline", STATE | change, **KINDS)
    assert str(raised.value) == f"checkpoint: the baseline's {said}"


def test_a_missing_key_and_what_is_no_mapping_are_named():
    with pytest.raises(
        UserError, match=r"^checkpoint: ppo's state has no 'calls', only \['call'\]"
    ):
        check_saved("ppo", {"call": 1}, calls=int)
    with pytest.raises(UserError, match=r"^checkpoint: ppo's state is a list, no mapping$"):
        check_saved("ppo", [1], calls=int)


def test_a_long_value_is_no_long_line():
    with pytest.raises(UserError) as raised:
        check_saved("ppo", {"a": {"k" * 9000: 10**4000}}, a=dict[str, str])
    assert len(str(raised.value)) < 300
