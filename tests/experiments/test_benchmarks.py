"""The benchmarks' own objectives: both sides of a pair compute the same."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from experiments.benchmarks import games, league, overhead, pyro
from experiments.benchmarks.game_replay import Product, Products


def test_the_comparison_with_pyro_says_what_it_needs_where_there_is_none(capsys):
    if find_spec("pyro") is not None:
        pytest.skip("Pyro is installed")
    assert pyro.main() == 2
    assert capsys.readouterr().err == "needs pyro-ppl: make install EXTRAS=benchmarks\n"


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--help", "Games against peers on this machine"),
        ("poong", "'poong': expected stepping, throughput, replay, pong, solving or seeds=N"),
        ("seeds=many", "'seeds=many': expected stepping"),
    ],
)
def test_the_benchmark_of_games_runs_nothing_for_an_argument_it_does_not_know(
    monkeypatch, capsys, argument, said
):
    for part in ("stepping", "throughput", "replay", "pong", "solving"):
        monkeypatch.setattr(games, part, lambda seeds: pytest.fail("it runs"))
    monkeypatch.setattr("sys.argv", ["games", argument])
    with pytest.raises(SystemExit, match=None if argument == "--help" else said):
        games.main()
    if argument == "--help":
        assert capsys.readouterr().out.startswith(said)


# torch imports its compiler, in seconds, where it differentiates under such a mode.
@pytest.mark.slow
def test_every_product_of_an_update_is_counted_forward_and_backward():
    """Two layers over 5 rows: forward, the weights' gradients, and that of what the second layer reads."""
    network = torch.nn.Sequential(torch.nn.Linear(3, 7), torch.nn.ReLU(), torch.nn.Linear(7, 2))
    with Products() as counted:
        network(torch.ones(5, 3)).sum().backward()
        torch.ones(4, 2, 3) @ torch.ones(4, 3, 6)
    shapes = [(1, 5, 3, 7), (1, 5, 7, 2), (1, 5, 2, 7), (1, 2, 5, 7), (1, 7, 5, 3), (4, 2, 3, 6)]
    assert sorted(counted.found, key=str) == sorted((Product(*s) for s in shapes), key=str)
    assert Product(4, 2, 3, 6).operations == 288


@pytest.mark.skipif(find_spec("pyro") is None, reason="needs Pyro")
@pytest.mark.parametrize("build", [pyro.elbo, pyro.chain, pyro.normal])
def test_both_libraries_estimate_one_gradient(build, monkeypatch):
    monkeypatch.setattr(pyro, "REPEATS", 60)
    case = build()
    found = []
    for make in (pyro.by_pyro, lambda c, leaves: pyro.by_us(c, c.estimators[0], leaves)):
        leaves = {name: p.clone().requires_grad_() for name, p in case.parameters.items()}
        found.append(pyro.gradients(overhead.fresh(make(case, leaves), leaves), leaves))
    assert pyro.difference(*found) < 4


@pytest.mark.parametrize("kind", ["rloo", "reparameterisation"])
def test_one_vector_site_by_hand_and_by_the_framework_is_one_gradient(kind):
    """From one seed, both draw the same noise."""
    gradients = []
    ours, by_hand = overhead.vector_site(kind, 3, 16)
    theta = overhead_parameter(ours)
    for call in (ours, by_hand):
        torch.manual_seed(0)
        call()
        assert theta.grad is not None
        gradients.append(theta.grad.clone())
    torch.testing.assert_close(*gradients)


def overhead_parameter(call) -> torch.Tensor:
    """The parameter that a pair shares, from what clears its gradient."""
    (parameters,) = [c.cell_contents for c in call.__closure__ if isinstance(c.cell_contents, dict)]
    theta: torch.Tensor = parameters["theta"]
    return theta


def test_random_moves_are_allowed_and_each_as_likely_as_the_others():
    torch.manual_seed(0)
    mask = torch.tensor([[True, False, True, True], [False, False, False, True]]).repeat(3000, 1)
    chosen = league.chooser(4)(mask)
    assert chosen[1::2].eq(3).all()
    # Of 3,000 draws, each with probability a third: four standard deviations are 103.
    assert (
        chosen[::2].bincount(minlength=4) - torch.tensor([1000, 0, 1000, 1000])
    ).abs().max() < 103
    assert chosen[::2].ne(1).all()
