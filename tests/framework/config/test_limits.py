"""The limits of a configuration: what is too deep, too large or would be once resolved is refused at once."""

import pytest
from omegaconf import OmegaConf

from framework.config.limits import CHARACTERS, Expansion, refuse_excess
from framework.errors import UserError


def nested(levels: int, count: int, form: str = "${{{}}}") -> dict[str, str]:
    """Each value is `count` times the one before: `count ** levels` characters in the end."""
    return {"x0": "a" * 3} | {f"x{i}": form.format(f"x{i - 1}") * count for i in range(1, levels)}


@pytest.mark.parametrize(
    "form",
    ["${{{}}}", "${{ {} }}", "${{.{}}}", "${{oc.select:{}}}",
    "${{oc.select:'{}'}}", "${{oc.select:{},1}}", "-${{{}}}-"],
)  # fmt: skip
def test_interpolations_that_multiply_are_refused_in_whatever_form(form):
    refuse_excess(nested(3, 10, form))
    with pytest.raises(UserError, match=r"^'x\d': with its interpolations resolved"):
        refuse_excess(nested(9, 10, form))


@pytest.mark.parametrize(
    "config",
    [
        {"a": "${a}"},
        {"a": "${b}", "b": "${a}"},
        {"a": {"b": "${a}"}},
        {"a": {"b": "${..a}"}},
        {"a": "${${b}}", "b": "a"},
        {"a": "${oc.select:a}"},
        {"a": "${oc.create:'${a}'}"},
    ],
)
def test_values_that_refer_to_themselves_are_refused(config):
    with pytest.raises(UserError, match="refers to itself"):
        refuse_excess(config)


@pytest.mark.parametrize(
    "config",
    [
        {"seed": 3, "task": {"seed": "${seed}", "label": "${oc.env:HOME}", "at": "${now:%Y}"}},
        {"a": "${b.c}", "b": {"c": "d", "e": "${a}"}},
        {"a": "$", "c": "}", "d": "${a"},
        {"names": {"one": 1, "two": 2}, "which": "one", "x": "${names.${which}}"},
        {"l": [1, 2, "${l[0]}"], "m": "${l.1}", "n": "${nowhere}"},
    ],
)
def test_what_a_configuration_needs_is_within_the_limits(config):
    refuse_excess(config)


def test_a_bound_is_never_below_the_resolved_length():
    config = {"a": "xyz", "b": ["${a}${a}", {"c": "${b[0]}!"}], "d": "${b.1.c}${oc.select:a}${b.0}"}
    bounds = Expansion({"a": "xyz", "b.0": "${a}${a}", "b.1.c": "${b[0]}!", "d": config["d"]})  # type: ignore[dict-item]
    resolved = OmegaConf.create(config)
    assert resolved.d == "xyzxyz!xyzxyzxyz"
    for path in bounds.leaves:
        assert len(str(OmegaConf.select(resolved, path))) <= bounds.bound(path)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (eval("[" * 40 + "]" * 40), "more than 32 levels of nesting"),
        ({"a": list(range(6_000))}, "more than 5,000 values"),
        ({"a": "x" * (CHARACTERS + 1)}, "more than 1,000,000 characters"),
    ],
)
def test_too_deep_and_too_large_are_refused(config, said):
    with pytest.raises(UserError, match=said) as told:
        refuse_excess(config)
    assert len(str(told.value)) < 200
