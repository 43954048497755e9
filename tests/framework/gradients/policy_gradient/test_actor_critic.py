"""Actor-critic estimators against the score function, against each other and against values known beforehand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

import framework
from framework.errors import ProgramError
from framework.gradients.estimator import Estimate, Estimator
from framework.gradients.policy_gradient.actor_critic import A2C, UPGO, VTrace
from framework.gradients.policy_gradient.advantages import Transitions
from framework.gradients.policy_gradient.ppo import PPO
from framework.gradients.policy_gradient.trajectory import EvaluatedTrajectory
from framework.gradients.score_function import reinforce
from framework.parameters import Parameters
from framework.program import Program
from framework.recording.context import Context

STEPS, GAMES = 6, 8


@dataclass(frozen=True)
class Record:
    """Steps of a game with four states and three actions."""

    actions: Tensor  # first: the program takes [T, N] from it
    states: Tensor  # [T + 1, N]
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    valid: Tensor
    behaviour: Tensor | None = None


def program(context: Context, parameters: Parameters, batch: Record) -> None:
    value = parameters["value"][batch.states]
    policy = Categorical(logits=parameters["logits"][batch.states[:-1]])
    context.observe("action", policy, batch.actions, mask=batch.valid, behaviour=batch.behaviour)
    context.value(value[:-1], value[1:], terminated=batch.terminated, truncated=batch.truncated)
    context.cost(-batch.rewards)


REPLAY = Program(program, recorded_trajectories=True)


def record(seed: int = 0) -> Record:
    """Random play in which the last step of every second game terminates; nothing else ends."""
    random = torch.Generator().manual_seed(seed)
    ends = torch.zeros(STEPS, GAMES, dtype=torch.bool)
    ends[-1, ::2] = True
    return Record(
        torch.randint(3, (STEPS, GAMES), generator=random),
        torch.randint(4, (STEPS + 1, GAMES), generator=random),
        torch.randn(STEPS, GAMES, generator=random),
        ends,
        torch.zeros_like(ends),
        torch.ones_like(ends),
    )


def fresh() -> dict[str, Tensor]:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    return {"logits": logits, "value": torch.zeros(4, requires_grad=True)}


def gradients(estimator: Estimator, batch: Record, parameters=None) -> tuple[Any, Estimate]:
    parameters = fresh() if parameters is None else parameters
    found = estimator.backward(REPLAY, parameters, batch)
    return {name: p.grad for name, p in parameters.items()}, found


def log_prob(parameters, batch):
    return (
        Categorical(logits=parameters["logits"][batch.states[:-1]]).log_prob(batch.actions).detach()
    )


def test_with_whole_returns_and_no_prediction_a2c_is_reinforce_per_step():
    batch = record()
    batch.terminated[-1] = True
    found, _ = gradients(A2C(discount=1.0, gae_lambda=1.0), batch)
    expected, _ = gradients(reinforce(baseline="none"), batch)
    torch.testing.assert_close(found["logits"] * STEPS, expected["logits"])


def test_on_policy_and_with_the_whole_trace_vtrace_is_a2c():
    found, _ = gradients(VTrace(), record())
    expected, _ = gradients(A2C(gae_lambda=1.0), record())
    torch.testing.assert_close(found, expected)


def test_the_first_part_of_ppo_is_a2c_with_ratio_one():
    batch = replace(record(), behaviour=log_prob(fresh(), record()))
    found, estimate = gradients(PPO(), batch)
    expected, _ = gradients(A2C(normalise_advantages=True), record())
    torch.testing.assert_close(found, expected)
    assert float(estimate.extras["kl"]) == 0
    assert float(estimate.extras["clip_fraction"]) == 0


def test_upgo_drops_what_came_after_a_disappointment():
    """With V = 0, gamma = 1: the return up to the step before the first bad one."""
    batch = record()
    found, _ = gradients(UPGO(discount=1.0), batch)
    parameters = fresh()
    advantages = torch.zeros(STEPS, GAMES)
    for n in range(GAMES):
        for t in range(STEPS):
            advantages[t, n] = batch.rewards[t, n]
            for later in range(t + 1, STEPS):
                if batch.rewards[later, n] < 0:
                    break
                advantages[t, n] += batch.rewards[later, n]
    policy = Categorical(logits=parameters["logits"][batch.states[:-1]])
    (-(advantages * policy.log_prob(batch.actions)).mean()).backward()
    torch.testing.assert_close(found["logits"], parameters["logits"].grad)


@pytest.mark.parametrize("gae_lambda", [0.0, 0.7])
def test_upgos_prediction_learns_vtraces_targets_of_its_lambda(gae_lambda):
    batch = record()
    found, _ = gradients(UPGO(gae_lambda=gae_lambda), batch)
    expected, _ = gradients(VTrace(gae_lambda=gae_lambda), batch)
    whole, _ = gradients(VTrace(gae_lambda=1.0), batch)
    torch.testing.assert_close(found["value"], expected["value"])
    assert not torch.allclose(found["value"], whole["value"])


def test_ppo_learns_nothing_from_steps_whose_ratio_is_beyond_the_clip():
    batch = record()
    raised = log_prob(fresh(), batch) - 1.0  # every action is e times likelier now
    found, estimate = gradients(PPO(normalise_advantages=False), replace(batch, behaviour=raised))
    assert float(estimate.extras["clip_fraction"]) == 1.0
    torch.testing.assert_close(float(estimate.extras["kl"]), torch.e - 2, atol=1e-5, rtol=0)
    with_loss = replace(batch, rewards=batch.rewards.abs(), behaviour=raised)
    found, _ = gradients(PPO(normalise_advantages=False, discount=0.0), with_loss)
    assert not found["logits"].any()


def test_a_part_beyond_the_target_kl_leaves_no_gradient_and_adam_leaves_the_parameters():
    batch = record()
    parameters = fresh()
    optimizer = torch.optim.Adam(parameters.values(), lr=0.1)
    estimator = PPO(target_kl=0.1)
    gradients(estimator, replace(batch, behaviour=log_prob(parameters, batch)), parameters)
    optimizer.step()  # Adam has momentum now
    optimizer.zero_grad()
    before = {name: p.detach().clone() for name, p in parameters.items()}
    far = replace(batch, behaviour=log_prob(parameters, batch) - 1.0)
    found, estimate = gradients(estimator, far, parameters)
    assert estimate.extras["kl_stops"] == 1
    assert all(gradient is None for gradient in found.values())
    optimizer.step()
    assert all(torch.equal(parameters[name], before[name]) for name in before)


def test_rows_that_are_no_steps_teach_nothing():
    batch = record()
    valid = batch.valid.clone()
    valid[3, 2] = False
    ended = batch.truncated.clone()
    ended[2, 2] = True
    masked = replace(batch, valid=valid, truncated=ended)
    other = replace(masked, actions=batch.actions.clone(), rewards=batch.rewards.clone())
    other.actions[3, 2] = (batch.actions[3, 2] + 1) % 3
    other.rewards[3, 2] += 100.0
    for estimator in (A2C(), VTrace(), UPGO()):
        found, _ = gradients(estimator, masked)
        again, _ = gradients(estimator, other)
        torch.testing.assert_close(found, again)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("ends", ["never", "truncated"])
@pytest.mark.parametrize("estimator", [A2C(discount=0.9), VTrace(discount=0.9), UPGO(discount=0.9)])
def test_reward_one_for_ever_is_worth_one_over_one_minus_gamma(estimator, ends):
    """A time limit is no end: with and without one the value is 10."""
    batch = record()
    cut = torch.zeros(STEPS, GAMES, dtype=torch.bool)
    cut[2] = ends == "truncated"
    forever = replace(
        batch, rewards=torch.ones(STEPS, GAMES), terminated=torch.zeros_like(cut), truncated=cut
    )
    parameters = fresh()
    optimizer = torch.optim.SGD([parameters["value"]], lr=2.0)
    for _ in range(400):
        optimizer.zero_grad()
        gradients(estimator, forever, parameters)
        optimizer.step()
    torch.testing.assert_close(
        parameters["value"].detach(), torch.full((4,), 10.0), atol=0.05, rtol=0
    )


def test_a_game_that_ends_for_good_is_worth_what_it_earns():
    batch = record()
    over = torch.ones(STEPS, GAMES, dtype=torch.bool)
    ending = replace(batch, rewards=torch.ones(STEPS, GAMES), terminated=over)
    parameters = fresh()
    optimizer = torch.optim.SGD([parameters["value"]], lr=2.0)
    for _ in range(100):
        optimizer.zero_grad()
        gradients(A2C(), ending, parameters)
        optimizer.step()
    torch.testing.assert_close(parameters["value"].detach(), torch.ones(4), atol=0.01, rtol=0)


def test_entropy_flattens_the_policy():
    batch = replace(record(), rewards=torch.zeros(STEPS, GAMES))
    parameters = fresh()
    optimizer = torch.optim.SGD(parameters.values(), lr=5.0)
    for _ in range(200):
        optimizer.zero_grad()
        gradients(A2C(entropy_weight=1.0), batch, parameters)
        optimizer.step()
    seen = batch.states[:-1].unique()
    spread = parameters["logits"].detach().softmax(-1)[seen]
    torch.testing.assert_close(spread, torch.full_like(spread, 1 / 3), atol=1e-3, rtol=0)


def test_explained_variance_is_one_for_a_perfect_prediction():
    batch = replace(record(), terminated=torch.ones(STEPS, GAMES, dtype=torch.bool))
    parameters = fresh()
    rewards = torch.tensor([1.0, -2.0, 0.5, 3.0])
    parameters["value"].data.copy_(rewards)
    _, estimate = gradients(A2C(), replace(batch, rewards=rewards[batch.states[:-1]]), parameters)
    torch.testing.assert_close(float(estimate.extras["explained_variance"]), 1.0)
    assert float(estimate.extras["value_loss"]) == 0


def test_a_program_without_predictions_is_refused_with_estimators_that_serve_it():
    def silent(context, parameters, batch):
        policy = Categorical(logits=parameters["logits"][batch.states[:-1]])
        context.observe("action", policy, batch.actions)
        context.cost(-batch.rewards)

    silent_program = Program(silent, recorded_trajectories=True)
    with pytest.raises(ProgramError, match=r"no value \(context\.value\).*reinforce, rloo"):
        PPO().backward(silent_program, fresh(), record())


def test_several_epochs_without_the_behaviour_are_refused():
    with pytest.raises(ProgramError, match=r"behaviour=.*epochs"):
        PPO().backward(REPLAY, fresh(), record())


def test_a_wrong_shape_of_the_value_is_named():
    def wrong(context, parameters, batch):
        value = parameters["value"][batch.states]
        context.value(value, value, terminated=batch.terminated, truncated=batch.truncated)

    with pytest.raises(ProgramError, match=r"values has shape \[7, 8\]; expected \[6, 8\]"):
        A2C().backward(Program(wrong, recorded_trajectories=True), fresh(), record())


def test_entropy_that_has_no_closed_form_is_refused_only_where_it_is_needed():
    def squashed(context, parameters, batch):
        value = parameters["value"][batch.states]
        normal = Normal(parameters["logits"][batch.states[:-1], 0], 1.0)
        policy = TransformedDistribution(normal, [TanhTransform()])
        context.observe("action", policy, torch.zeros(STEPS, GAMES))
        context.value(value[:-1], value[1:], terminated=batch.terminated, truncated=batch.truncated)
        context.cost(-batch.rewards)

    continuous = Program(squashed, recorded_trajectories=True)
    A2C().backward(continuous, fresh(), record())
    with pytest.raises(ProgramError, match=r"'action'.*no entropy.*entropy_weight"):
        A2C(entropy_weight=0.01).backward(continuous, fresh(), record())


def test_the_clip_goes_in_a_straight_line_to_its_final_one_also_in_a_resumed_run():
    batch = replace(record(), behaviour=log_prob(fresh(), record()))
    estimator = PPO(clip=0.2, final_clip=0.1, anneal_steps=4)
    clips = []
    for call in range(7):
        if call == 3:
            saved = estimator.state_dict()
            estimator = PPO(clip=0.2, final_clip=0.1, anneal_steps=4)
            estimator.load_state_dict(saved)
        gradients(estimator, batch)
        clips.append(estimator.clip)
    assert clips == pytest.approx([0.2, 0.175, 0.15, 0.125, 0.1, 0.1, 0.1])


def test_a_prediction_that_left_its_clip_towards_the_target_learns_no_more_and_one_that_must_return_does():
    """Predictions of 1 that were 0, clipped at 0.2: with target 2 the clipped error counts, with -1 the plain one."""
    prediction = torch.ones(1, 2, requires_grad=True)
    nothing = torch.zeros(1, 2)
    none = torch.zeros(1, 2, dtype=torch.bool)
    steps = Transitions(nothing, prediction.detach(), nothing, none, none, ~none)
    trajectory = EvaluatedTrajectory(nothing, nothing + 1, prediction, steps, nothing)
    loss = PPO(clip_value=0.2).value_loss(trajectory, torch.tensor([[2.0, -1.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(0.5 * (1.8**2 + 2**2) / 2)
    assert prediction.grad is not None
    assert prediction.grad.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_means_and_moments_lose_nothing_under_autocast(dtype):
    values = torch.randn(32, 64, generator=torch.Generator().manual_seed(0)) + 500.0
    nothing, none = torch.zeros(32, 64), torch.zeros(32, 64, dtype=torch.bool)
    steps = Transitions(nothing, nothing, nothing, none, none, ~none)
    trajectory = EvaluatedTrajectory(nothing, nothing + 1, nothing, steps, None)
    with torch.autocast("cpu", dtype=dtype):
        mean, (centre, variance) = trajectory.mean(values.square()), trajectory.moments(values)
        standardised = trajectory.standardised(values)
    torch.testing.assert_close(mean, values.square().mean())
    torch.testing.assert_close(centre, values.mean())
    torch.testing.assert_close(variance, values.var(correction=0))
    torch.testing.assert_close(float(standardised.std(correction=0)), 1.0)


def test_a_refusal_gives_the_estimators_registered_name():
    with pytest.raises(ProgramError, match=r"^'vtrace_upgo' learns from recorded steps"):
        framework.estimate(
            lambda context, parameters, batch: context.cost(parameters["theta"]),
            {"theta": torch.tensor(1.0)},
            estimator="vtrace_upgo",
        )
