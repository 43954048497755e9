"""The axes of what a run of a program leaves."""

from __future__ import annotations

import hypothesis.strategies as st
import torch
from hypothesis import given, settings

from framework.recording.axes import ALL, DATA, SAMPLES
from framework.recording.trace import Cost, Trace


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_the_objective_is_the_mean_over_samples_and_batch_of_the_sum_over_the_rest(n, b, rest):
    torch.manual_seed(n * 100 + b * 10 + rest)
    value = torch.randn(n, b, rest)
    trace = Trace((n, b))
    assert torch.allclose(trace.mean(Cost("x", value, 0, ALL)), value.sum(-1).mean(), atol=1e-6)


def test_a_cost_may_be_shared_by_the_batch_or_by_the_samples():
    trace = Trace((3, 5))
    per_sample, per_datum = torch.arange(3.0), torch.arange(5.0)
    assert trace.leading(per_sample, SAMPLES).shape == (3, 1)
    assert trace.leading(per_datum, DATA).shape == (1, 5)
    assert trace.mean(Cost("x", per_sample, 0, SAMPLES)) == 1
    assert trace.mean(Cost("x", per_datum, 0, DATA)) == 2
