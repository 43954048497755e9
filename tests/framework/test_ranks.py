"""Several processes that train together: the same gradients as one process with the whole batch."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli

from framework import ranks
from framework.errors import ProgramError
from framework.gradients.numerical import SPSA, EvolutionStrategies, FiniteDifference
from framework.gradients.pathwise.alpha_order import AlphaOrder
from framework.gradients.policy_gradient.actor_critic import A2C, VTrace
from framework.gradients.policy_gradient.ppo import PPO
from framework.gradients.score_function import reinforce, rloo
from framework.program import Program
from framework.training.updates.batch_norm import share_batch_norm
from tests.processes import together

COUNT = 2
# Of which one process has one more than the other.
SAMPLES, DATA, GAMES, STEPS = 7, 5, 5, 6


def draws() -> Tensor:
    return torch.bernoulli(
        torch.full((SAMPLES, 3), 0.4), generator=torch.Generator().manual_seed(1)
    )


def recorded(parts: slice) -> dict[str, Tensor]:
    """Recorded steps `[T, N]` of this process's games."""
    made = torch.Generator().manual_seed(2)
    shape = (STEPS, GAMES)
    valid = torch.rand(shape, generator=made) < 0.8
    batch = {
        "rewards": torch.randn(shape, generator=made),
        "actions": torch.randint(2, shape, generator=made).float(),
        "valid": valid,
        "seen": torch.randn((*shape, 2), generator=made),
        "before": torch.randn(shape, generator=made),
        "ends": torch.rand(shape, generator=made) < 0.2,
    }
    return {name: tensor[:, parts].contiguous() for name, tensor in batch.items()}


def with_draws(context: Any, parameters: Any, batch: Any) -> None:
    """Samples without data: draws made earlier, so that all processes together have those of one."""
    drawn = draws()[ranks.part(SAMPLES)]
    context.observe("b", Bernoulli(logits=parameters["a"].expand(len(drawn), 3)), drawn)
    taken = context.log_prob("b")
    context.cost((drawn.sum(-1) - parameters["c"]).square() + 0.3 * taken.sum(-1))


def with_data(context: Any, parameters: Any, batch: Any) -> None:
    output = torch.tanh(batch @ parameters["w"])
    context.cost((output - batch.sum(-1)).square())


def with_steps(context: Any, parameters: Any, batch: Any) -> None:
    logits = batch["seen"] @ parameters["w"]
    context.observe(
        "action",
        Bernoulli(logits=logits),
        batch["actions"],
        mask=batch["valid"],
        behaviour=-0.6 - 0.1 * batch["before"].square(),
    )
    context.cost(torch.where(batch["valid"], -batch["rewards"], 0.0))
    values = batch["seen"] @ parameters["v"]
    context.value(values, values.roll(-1, 0), terminated=batch["ends"], truncated=~batch["valid"])


def episodes(context: Any, parameters: Any, batch: Any) -> None:
    logits = batch["seen"] @ parameters["w"]
    context.observe("action", Bernoulli(logits=logits), batch["actions"], mask=batch["valid"])
    context.cost(torch.where(batch["valid"], -batch["rewards"], 0.0))


def weights(dtype: torch.dtype, **shapes: tuple[int, ...]) -> dict[str, Tensor]:
    made = torch.Generator().manual_seed(3)
    return {
        name: torch.randn(shape, generator=made, dtype=dtype).requires_grad_()
        for name, shape in shapes.items()
    }


def data() -> Tensor:
    return torch.randn(DATA, 4, generator=torch.Generator().manual_seed(5))[ranks.part(DATA)]


def gradient(
    estimator: Any,
    program: Program,
    batch: Any,
    times: int = 1,
    dtype: torch.dtype = torch.float32,
    **shapes: Any,
) -> Any:
    """What the trainer makes of it: each process's part, weighed and added up."""
    parameters = weights(dtype, **shapes)
    for _ in range(times):
        for parameter in parameters.values():
            parameter.grad = None
        share = program.share(batch)
        estimate = estimator.backward(program, parameters, batch, scale=share)
        value = ranks.add_gradients(list(parameters.values()), share * estimate.objective)
    found = {name: parameter.grad for name, parameter in parameters.items()}
    return {**found, "objective": value}


def without_draws(context: Any, parameters: Any, batch: Any) -> None:
    context.cost((parameters["a"].square().sum() - parameters["c"]).square())


def by_values(estimator: Any, program: Program, batch: Any, **shapes: Any) -> Any:
    """What differences of values make of it; each process's generator stands elsewhere, as in training.

    In double precision: a small step divides what is lost by rounding.
    """

    def run() -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(6 + ranks.rank())
            return gradient(estimator(), program, batch(), dtype=torch.float64, **shapes)

    return run


def sampled(estimator: Any, times: int = 1) -> Any:
    return lambda: gradient(estimator(), Program(with_draws), None, times, a=(3,), c=())


def played(estimator: Any, function: Any = with_steps, times: int = 1) -> Any:
    def run() -> Any:
        program = Program(function, recorded_trajectories=True)
        batch = recorded(ranks.part(GAMES))
        return gradient(estimator(), program, batch, times, w=(2,), v=(2,))

    return run


def normalised() -> Any:
    """A network with batch normalisation in its middle: gradients and running moments."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = nn.Sequential(
            nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 1)
        )
    share_batch_norm(model)
    batch = data()
    loss = (model(batch).squeeze(-1) - batch.sum(-1)).square().mean() * (len(batch) / DATA)
    loss.backward()
    ranks.add_gradients(list(model.parameters()), loss)
    found = {name: p.grad for name, p in model.named_parameters()}
    return {**found, **{name: b for name, b in model.named_buffers() if "running" in name}}


CASES: dict[str, Callable[[], Any]] = {
    "rloo": sampled(lambda: rloo(samples=SAMPLES)),
    "moving average": sampled(lambda: reinforce(samples=SAMPLES), 3),
    "learned baseline": sampled(lambda: reinforce(samples=SAMPLES, baseline="learned"), 3),
    "no baseline": sampled(lambda: reinforce(samples=SAMPLES, baseline="none")),
    "rloo of data": lambda: gradient(
        rloo(samples=2), Program(with_data, batch_axes=1), data(), w=(4,)
    ),
    "rloo of episodes": played(rloo, episodes),
    "moving average of episodes": played(reinforce, episodes, 3),
    "a2c": played(lambda: A2C(normalise_advantages=True, entropy_weight=0.1), times=2),
    "vtrace": played(VTrace),
    "ppo": played(lambda: PPO(entropy_weight=0.1)),
    "batch normalisation": normalised,
    "alpha_order of data": lambda: gradient(
        AlphaOrder(samples=16), Program(with_data, batch_axes=1), data(), w=(4,)
    ),
}

VALUES_ONLY: dict[str, Callable[[], Any]] = {
    "finite differences": FiniteDifference,
    "spsa": lambda: SPSA(directions=3),
    "evolution strategies": lambda: EvolutionStrategies(directions=3),
    "order of values": lambda: EvolutionStrategies(directions=3, shaping="ranks"),
}
for name, estimator in VALUES_ONLY.items():
    whole, parted = Program(without_draws), Program(with_data, batch_axes=1)
    CASES[name] = by_values(estimator, whole, lambda: None, a=(3,), c=())
    CASES[f"{name} of data"] = by_values(estimator, parted, lambda: data().double(), w=(4,))


def find_all(rank: int, folder: Path) -> None:
    """What one of the processes finds: all cases, into a file of its own."""
    found = {name: case() for name, case in CASES.items()}
    found["largest"] = ranks.largest(rank, -rank)
    found["of first"] = ranks.of_first(f"given by {rank}")
    with ranks.alone():
        found["alone"] = (ranks.size(), ranks.part(SAMPLES))
    torch.save(found, folder / f"{rank}.pt")


def of_both(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"{i}.pt", weights_only=False) for i in range(COUNT)]


@cache
def by_process() -> list[dict[str, Any]]:
    """What each of the processes finds."""
    with TemporaryDirectory() as folder:
        together(COUNT, find_all, Path(folder))
        return of_both(Path(folder))


@cache
def by_shard() -> list[dict[str, Any]]:
    """What each of as many shards of this process finds."""
    with TemporaryDirectory() as folder:

        def one() -> None:
            find_all(ranks.rank(), Path(folder))

        ranks.divided(COUNT, one, one)
        return of_both(Path(folder))


PARTS = [by_shard, pytest.param(by_process, marks=pytest.mark.slow)]


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("name", CASES)
def test_two_processes_with_uneven_parts_have_the_gradients_of_one_with_all(name, parts):
    whole = CASES[name]()
    for found in parts():
        for key, expected in whole.items():
            if expected is None:
                assert found[name][key] is None
                continue
            error = (found[name][key] - expected).norm() / expected.norm().clamp(min=1e-12)
            assert error < 1e-6, f"{key}: {error}"


@pytest.mark.parametrize("parts", PARTS)
def test_processes_agree(parts):
    first, second = parts()
    assert first["largest"] == second["largest"] == [1.0, 0.0]
    assert first["of first"] == second["of first"] == "given by 0"
    assert first["alone"] == second["alone"] == (1, slice(0, SAMPLES))


def test_a_batch_with_nothing_for_one_of_them_is_refused():
    def share() -> float:
        return Program(with_data, batch_axes=1).share(torch.ones(2, 3)[ranks.part(2)])

    with pytest.raises(ProgramError, match="a batch of 2 data for 3 processes, 1 of which"):
        ranks.divided(3, share, share)


def test_alone_everything_is_the_identity():
    values = torch.tensor([1.0, 2.0])
    assert ranks.rank() == 0
    assert ranks.size() == 1
    assert ranks.part(7) == slice(0, 7)
    assert ranks.summed(values).tolist() == [1.0, 2.0]
    assert ranks.largest(3.0) == [3.0]
    assert ranks.total(3.0, 4.0) == [3.0, 4.0]
