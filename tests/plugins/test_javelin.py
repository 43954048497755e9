"""The javelin: closed forms of the range, of its mean under a shaky hand, and an angle that every estimator finds."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import framework
from framework.commands import train
from framework.plugin import registry
from plugins.javelin.task import SPEED, Javelin
from tests.runs import result

ANGLES = torch.deg2rad(torch.arange(5.0, 90.0, 5.0))


def javelin(**options: Any) -> Javelin:
    return Javelin(**{"release_spread_degrees": 0.0, **options})


def expected_range(
    task: Javelin, degrees: float, estimator: str = "exact", **options: Any
) -> framework.Estimate:
    """The objective and its gradient at an angle, by quadrature."""
    angle = torch.tensor(math.radians(degrees))
    program = task.as_program(task.objective)
    return framework.estimate(program, {"angle": angle}, estimator=estimator, **options)


def test_without_drag_the_range_is_80_sin_2a():
    metres = javelin().fly(ANGLES, torch.zeros(()))
    assert torch.allclose(metres, 80 * torch.sin(2 * ANGLES), atol=1e-4)


def test_a_tail_wind_carries_as_far_as_it_blows_during_the_flight():
    calm, windy = (javelin().fly(ANGLES, torch.tensor(speed)) for speed in (0.0, 3.0))
    seconds = 2 * SPEED * ANGLES.sin() / 9.8
    assert torch.allclose(windy - calm, 3.0 * seconds, atol=1e-4)


@pytest.mark.parametrize("spread", [1.0, 5.0, 20.0])
@pytest.mark.parametrize("degrees", [20.0, 45.0, 70.0])
def test_a_shaky_hand_shortens_the_mean_range_by_its_closed_form(spread, degrees):
    s, a = math.radians(spread), math.radians(degrees)
    found = expected_range(javelin(release_spread_degrees=spread), degrees, nodes=64)
    shrink = 80 * math.exp(-2 * s * s)
    assert found.value == pytest.approx(-shrink * math.sin(2 * a), rel=1e-4)
    assert found.gradients["angle"].item() == pytest.approx(-2 * shrink * math.cos(2 * a), abs=2e-3)


@pytest.mark.parametrize("estimator", ["rloo", "reinforce", "reparameterisation"])
def test_estimators_agree_with_the_closed_form_in_the_mean(estimator):
    task = javelin(release_spread_degrees=5.0)
    estimates = torch.stack(
        [
            expected_range(task, 20.0, estimator, samples=256, seed=seed).gradients["angle"]
            for seed in range(50)
        ]
    )
    truth = -2 * 80 * math.exp(-2 * math.radians(5) ** 2) * math.cos(math.radians(40))
    error = estimates.std() / math.sqrt(len(estimates))
    assert abs(estimates.mean() - truth) < 4 * error


def test_drag_shortens_every_throw_and_no_drag_is_the_limit():
    calm = javelin().fly(ANGLES, torch.zeros(()))
    lengths = [calm]
    for drag in (1e-7, 0.002, 0.005, 0.02):
        lengths.append(javelin(drag=drag).fly(ANGLES, torch.zeros(())))
    # Integrated in steps of 0.02 s.
    assert torch.allclose(lengths[0], lengths[1], rtol=0.02, atol=0.5)
    for longer, shorter in itertools.pairwise(lengths[1:]):
        assert (shorter < longer).all()


def test_drag_moves_the_best_angle_below_45_degrees():
    degrees = torch.linspace(30, 60, 301)
    metres = javelin(drag=0.01).fly(torch.deg2rad(degrees), torch.zeros(()))
    assert 38 < degrees[metres.argmax()] < 44


@pytest.mark.parametrize("wind", [-4.0, 0.0, 4.0])
def test_the_flight_with_drag_has_the_gradient_of_its_differences(wind):
    task = javelin(drag=0.005)
    angles = ANGLES.double().requires_grad_()
    metres = task.fly(angles, torch.tensor(wind, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(metres.sum(), angles)
    h = 1e-6
    with torch.no_grad():
        above, below = (task.fly(angles + s * h, torch.tensor(wind).double()) for s in (1, -1))
    differences = (above - below) / (2 * h)
    assert gradient.isfinite().all()
    assert torch.allclose(gradient, differences, rtol=1e-4, atol=1e-4)


def test_the_flight_with_drag_takes_any_shape():
    task = javelin(drag=0.005)
    one = task.fly(torch.tensor(0.7), torch.tensor(0.0))
    grid = task.fly(torch.full((3, 1), 0.7), torch.zeros(4))
    assert grid.shape == (3, 4)
    assert torch.allclose(grid, one.expand(3, 4))


def objective_at(task: Javelin, degrees: float) -> Tensor:
    return torch.tensor(expected_range(task, degrees).value)


def test_a_throw_flatter_than_the_foul_line_counts_for_nothing():
    task = javelin(foul_below_degrees=40.0)
    assert objective_at(task, 39.9) == 0
    assert objective_at(task, 40.1).item() == pytest.approx(
        -80 * math.sin(math.radians(80.2)), rel=1e-5
    )


@pytest.mark.filterwarnings("ignore:a cost jumps in draw 'release'")
def test_the_foul_line_is_seen_by_the_score_function_and_not_by_the_path():
    task = javelin(release_spread_degrees=5.0, foul_below_degrees=38.0)
    slopes = {}
    for estimator in ("reparameterisation", "rloo"):
        estimates = [
            expected_range(task, 36.0, estimator, samples=1024, seed=seed).gradients["angle"].item()
            for seed in range(10)
        ]
        slopes[estimator] = sum(estimates) / len(estimates)
    s, a, line = math.radians(5), math.radians(36), math.radians(38)
    jump = (
        -80
        * math.sin(2 * line)
        * math.exp(-((line - a) ** 2) / (2 * s * s))
        / (s * math.sqrt(2 * math.pi))
    )
    assert slopes["rloo"] - slopes["reparameterisation"] == pytest.approx(jump, rel=0.1)


def test_evaluation_reports_angle_range_and_the_noisy_objective():
    task = javelin(start_degrees=30.0, release_spread_degrees=5.0)
    with torch.no_grad():
        metrics = task.evaluate(1)
        assert metrics == task.evaluate(1)
    assert metrics["angle_degrees"] == pytest.approx(30, abs=1e-4)
    assert metrics["range_metres"] == pytest.approx(80 * math.sin(math.radians(60)), abs=1e-3)
    assert metrics["objective"] == pytest.approx(
        -80 * 0.98489 * math.sin(math.radians(60)), abs=1.0
    )


SEVEN = [
    "exact",
    "finite_difference",
    "spsa",
    "evolution_strategies",
    "reinforce",
    "rloo",
    "reparameterisation",
]


# One of each kind: enumeration, numerical, score function, path.
QUICK = {"exact", "spsa", "rloo", "reparameterisation"}


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "estimator",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SEVEN],
)
def test_the_default_experiment_ends_within_half_a_degree_of_45(tmp_path, estimator):
    folder = tmp_path / "run"
    quiet = ("monitor.tensorboard=false", "monitor.progress=none")
    train.run(["experiment=javelin", f"estimator={estimator}", *quiet, f"hydra.run.dir={folder}"])
    assert abs(result(folder)["metrics"]["angle_degrees"] - 45) < 0.5
    assert result(folder)["metrics"]["range_metres"] > 79.9


def test_the_seven_are_registered():
    assert set(SEVEN) <= set(registry().names("estimators"))


def test_the_angle_before_each_step_is_recorded_and_outlives_a_resume():
    task = javelin(start_degrees=30.0)
    task.before_step(0)
    again = javelin()
    again.load_state_dict(task.state_dict())
    assert again.path.values == pytest.approx([30.0])


def test_an_angle_that_is_not_finite_is_left_out_of_the_picture():
    task = javelin()
    for angle in (0.3, math.inf, math.nan, 0.4):
        with torch.no_grad():
            task.model.angle.fill_(angle)
        task.before_step(0)
    assert len(list(task.show(0))) == 1
    with torch.no_grad():
        task.model.angle.fill_(math.nan)
    assert len(list(task.show(0))) == 1


@pytest.mark.parametrize("angle", [math.nan, math.inf])
def test_with_drag_an_angle_that_is_not_finite_has_no_range_and_no_flight_without_end(angle):
    metres = javelin(drag=0.01).fly(torch.tensor([0.5, angle]), torch.zeros(()))
    assert metres[1].isnan()
    assert torch.equal(metres[:1], javelin(drag=0.01).fly(torch.tensor([0.5]), torch.zeros(())))
