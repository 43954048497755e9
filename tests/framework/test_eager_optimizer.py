"""torch's optimisers without its compiler: the same bits, hooks and state, and torch's own classes left as they are."""

import inspect
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from framework.eager_optimizer import DECORATED, eager
from tests.runs import python

KINDS: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (Adam, {"lr": 0.1, "fused": True}),
    (AdamW, {"lr": 0.1, "weight_decay": 0.1}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (RMSprop, {"lr": 0.1, "momentum": 0.5}),
]
each_kind = pytest.mark.parametrize(("kind", "options"), KINDS)


def followed(kind: type[Optimizer], options: dict[str, Any]) -> tuple[torch.Tensor, Optimizer]:
    """A parameter after some steps along a fixed sequence of gradients."""
    parameter = torch.nn.Parameter(torch.linspace(-1, 1, 7))
    optimizer = kind([parameter], **options)
    for step in range(5):
        optimizer.zero_grad()
        (parameter * torch.arange(7.0) * (-1) ** step).sum().backward()
        optimizer.step()
    return parameter.detach(), optimizer


@each_kind
def test_the_steps_are_those_of_torch_bit_for_bit(kind, options):
    assert torch.equal(followed(kind, options)[0], followed(eager(kind), options)[0])


@each_kind
def test_its_state_is_torchs(kind, options):
    (_, torchs), (_, ours) = followed(kind, options), followed(eager(kind), options)
    assert ours.state_dict()["param_groups"] == torchs.state_dict()["param_groups"]
    torchs.load_state_dict(ours.state_dict())
    ours.load_state_dict(torchs.state_dict())


@each_kind
def test_hooks_are_called_and_the_class_keeps_its_name(kind, options):
    _, optimizer = followed(eager(kind), options)
    seen = []
    optimizer.register_step_pre_hook(lambda *given: seen.append("before"))
    optimizer.register_step_post_hook(lambda *given: seen.append("after"))
    optimizer.step()
    assert seen == ["before", "after"]
    assert type(optimizer).__name__ == kind.__name__
    assert isinstance(optimizer, kind)


@each_kind
def test_no_method_that_a_training_calls_is_decorated_for_the_compiler(kind, options):
    ours = eager(kind)
    for name in DECORATED:
        # Torch decorates it, or the file is not needed any more.
        assert inspect.unwrap(getattr(kind, name)) is not getattr(kind, name), name
        assert inspect.unwrap(getattr(ours, name)) is getattr(ours, name), name


@pytest.mark.slow
def test_a_training_imports_neither_torchs_compiler_nor_a_plotting_package_before_its_first_step(
    tmp_path,
):
    code = """
import sys
import framework

HEAVY = {"torch._dynamo", "torch._inductor", "sympy", "matplotlib", "scipy", "pandas"}
framework.train(
    "javelin", steps=2, folder="run",
    on_step=lambda step, estimate: print(sorted(HEAVY & set(sys.modules))),
)
"""
    out, err = python("-c", code, cwd=tmp_path).communicate(timeout=600)
    assert out == "[]\n[]\n", err
