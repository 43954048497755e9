"""SAC, TD3 and DQN against targets, losses and gradients computed by hand on small linear critics."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from framework.errors import ProgramError, UserError
from framework.gradients.estimator import Estimator
from framework.gradients.off_policy.dqn import DQN
from framework.gradients.off_policy.learned_critic import LearnedCritic
from framework.gradients.off_policy.sac import SAC
from framework.gradients.off_policy.target_networks import TargetNetworks
from framework.gradients.off_policy.td3 import TD3
from framework.parameters import Parameters
from framework.program import Program
from framework.recording.context import Context
from framework.replay import Decisions, ReplayedSteps, ReplayPlan

# Q_k(s, a) = c_k0 + c_k1 s + c_k2 a + c_k3 a^2 for k = 1, 2; the policy is Normal(w s, e^l).
CRITICS = torch.tensor([[0.5, 1.0, -0.5, -1.0], [0.4, 0.8, 0.3, -2.0]])
STATES = torch.tensor([0.5, -1.0, 2.0])
ACTIONS = torch.tensor([[0.2], [-0.4], [1.0]])
NEXT = torch.tensor([1.0, 0.0, -0.5])
REWARDS = torch.tensor([1.0, -2.0, 0.5])
# The second step ended the game.
DISCOUNTS = torch.tensor([0.9, 0.0, 0.81])
STEPS = ReplayedSteps(STATES, ACTIONS, REWARDS, NEXT, DISCOUNTS)


def quality(critics: Tensor, s: Tensor, a: Tensor) -> Tensor:
    """`[2, *batch]`."""
    c = critics.reshape(2, 4, *[1] * a.dim())
    return c[:, 0] + c[:, 1] * s + c[:, 2] * a + c[:, 3] * a.square()


def continuous(context: Context, parameters: Parameters, batch: Decisions) -> None:
    s = batch.observations
    if batch.actions is not None:
        a = batch.actions.squeeze(-1).unsqueeze(0)
    else:
        mean = (parameters["mean"] * s).unsqueeze(-1)
        policy = Independent(Normal(mean, parameters["log_std"].exp()), 1)
        a = context.sample("action", policy, per_sample=False, per_datum=True).squeeze(-1)
    values = quality(parameters["critics.weights"], s, a)
    context.action_values(values)
    context.cost(-values.amin(0), per_sample=True, per_datum=True)


def discrete(context: Context, parameters: Parameters, batch: Decisions) -> None:
    """Q(s, a) = u_a + v_a s for three actions."""
    s = batch.observations.unsqueeze(-1)
    values = parameters["u"] + parameters["v"] * s
    context.action_values(values.unsqueeze(0).unsqueeze(0))
    context.cost(-values.amax(-1).unsqueeze(0), per_sample=True, per_datum=True)


def fresh() -> dict[str, Tensor]:
    return {
        "mean": torch.tensor(0.3, requires_grad=True),
        "log_std": torch.tensor(-1.0, requires_grad=True),
        "critics.weights": CRITICS.clone().requires_grad_(),
    }


def run(estimator: Estimator, parameters: dict[str, Tensor], program: Any = continuous) -> Any:
    for value in parameters.values():
        value.grad = None
    return estimator.backward(Program(program, batch_axes=1), parameters, STEPS)


def test_sac_is_its_three_losses_with_the_same_noise():
    """The next actions' noise is drawn first, then that of the actions whose path is followed."""
    parameters = fresh()
    torch.manual_seed(3)
    found = run(SAC(temperature=0.2), parameters)
    torch.manual_seed(3)
    ahead, now = torch.normal(torch.zeros(1, 3, 1), 1.0), torch.normal(torch.zeros(1, 3, 1), 1.0)
    expected = fresh()
    mean, spread = expected["mean"], expected["log_std"].exp()

    def drawn(s: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        a = mean * s + spread * noise[0, :, 0]
        return a, Normal(mean * s, spread).log_prob(a)

    with torch.no_grad():
        a, log_prob = drawn(NEXT, ahead)
        target = REWARDS + DISCOUNTS * (quality(CRITICS, NEXT, a).amin(0) - 0.2 * log_prob)
    own = quality(expected["critics.weights"], STATES, ACTIONS[:, 0])
    critic_loss = sum(0.5 * (q - target).square().mean() for q in own)
    a, log_prob = drawn(STATES, now)
    actor_loss = (0.2 * log_prob - quality(CRITICS, STATES, a).amin(0)).mean()
    (critic_loss + actor_loss).backward()
    for name, value in parameters.items():
        torch.testing.assert_close(value.grad, expected[name].grad)
    torch.testing.assert_close(found.extras["value_loss"], critic_loss.detach())
    torch.testing.assert_close(found.extras["entropy"], -log_prob.detach().mean())


def test_the_entropy_of_sac_is_held_at_its_aim_by_the_temperature():
    """A policy of entropy .4 and an aim above and below it: one step of Adam either way."""
    entropy = float(Normal(0.0, torch.tensor(-1.0).exp()).entropy())
    for aim, grows in ((entropy + 2, True), (entropy - 2, False)):
        estimator = SAC(target_entropy=aim, temperature_rate=0.01)
        torch.manual_seed(0)
        first = float(run(estimator, fresh()).extras["temperature"])
        second = float(run(estimator, fresh()).extras["temperature"])
        assert first == 1.0
        assert second == pytest.approx(2.718281828 ** (0.01 if grows else -0.01), rel=1e-5)


def test_the_usual_aim_is_minus_the_number_of_action_dimensions():
    estimator = SAC()
    run(estimator, fresh())
    torch.manual_seed(1)
    run(estimator, fresh())
    tuned = estimator.tuned
    assert tuned is not None
    torch.manual_seed(1)
    torch.normal(torch.zeros(1, 3, 1), 1.0)
    noise = torch.normal(torch.zeros(1, 3, 1), 1.0)
    log_prob = Normal(0.0, 1.0).log_prob(noise) + 1.0
    torch.testing.assert_close(
        tuned.tensors["log_temperature"].grad, -(log_prob - 1.0).mean(), atol=1e-6, rtol=1e-6
    )


def test_td3_follows_the_slope_of_the_first_critic_at_the_mean_in_every_second_update():
    parameters, estimator = fresh(), TD3(target_noise=0.2, noise_limit=0.1)
    torch.manual_seed(5)
    run(estimator, parameters)
    assert parameters["mean"].grad is None
    torch.manual_seed(5)
    noise = (0.2 * torch.randn(1, 3, 1)).clamp(-0.1, 0.1)[0, :, 0]
    target = REWARDS + DISCOUNTS * quality(CRITICS, NEXT, 0.3 * NEXT + noise).amin(0)
    own = fresh()["critics.weights"]
    sum(0.5 * (q - target).square().mean() for q in quality(own, STATES, ACTIONS[:, 0])).backward()
    torch.testing.assert_close(parameters["critics.weights"].grad, own.grad)
    run(estimator, parameters)
    # d/dw of -mean Q_1(s, w s) = -mean (c_2 + 2 c_3 w s) s
    slope = -((-0.5 - 2 * 0.3 * STATES) * STATES).mean()
    torch.testing.assert_close(parameters["mean"].grad, slope)
    assert parameters["log_std"].grad is None


@pytest.mark.parametrize("double", [True, False])
def test_dqn_is_the_huber_loss_of_the_taken_action(double):
    slow = {"u": torch.tensor([-6.0, 1.0, 2.0]), "v": torch.tensor([1.0, 0.0, -1.0])}
    parameters = {
        "u": torch.tensor([3.0, 0.5, 0.1], requires_grad=True),
        "v": torch.tensor([0.2, -0.3, 0.4], requires_grad=True),
    }
    actions = torch.tensor([2, 0, 1])
    estimator = DQN(double=double, tau=0.5)
    estimator.targets.values = {name: value.clone() for name, value in slow.items()}
    batch = ReplayedSteps(STATES, actions, REWARDS, NEXT, DISCOUNTS)
    found = estimator.backward(Program(discrete, batch_axes=1), parameters, batch)
    # Before the update the slow copies go half of the way (no update counted: a move is due).
    slow = {name: (slow[name] + parameters[name].detach()) / 2 for name in slow}
    ahead = slow["u"] + slow["v"] * NEXT.unsqueeze(-1)
    judge = parameters["u"] + parameters["v"] * NEXT.unsqueeze(-1) if double else ahead
    best = ahead[torch.arange(3), judge.argmax(-1)]
    if double:
        assert not torch.equal(best, ahead.amax(-1))
    own = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
    taken = (own["u"] + own["v"] * STATES.unsqueeze(-1))[torch.arange(3), actions]
    loss = torch.nn.functional.huber_loss(taken, REWARDS + DISCOUNTS * best)
    loss.backward()
    torch.testing.assert_close(found.extras["value_loss"], loss.detach())
    for name, value in parameters.items():
        torch.testing.assert_close(value.grad, own[name].grad)


def test_target_networks_follow_by_tau_every_so_many_updates():
    networks = TargetNetworks(tau=0.25, every=2)
    parameter = torch.tensor([0.0, 4.0])
    networks.follow({"w": parameter})
    parameter += 8
    seen = []
    for _ in range(4):
        networks.follow({"w": parameter})
        seen.append(networks.values["w"].tolist())
    # Updates 1 and 3 leave the copy where it is, before 2 and 4 it goes a quarter of the way.
    assert seen == [[0, 4], [2, 6], [2, 6], [3.5, 7.5]]


@pytest.mark.parametrize("make", [SAC, TD3])
def test_a_restored_estimator_goes_on_with_the_same_bits(make):
    def go_on(estimator: LearnedCritic, parameters: dict[str, Tensor]) -> list[Any]:
        optimizer = torch.optim.SGD(parameters.values(), lr=0.1)
        for number in range(3):
            torch.manual_seed(number)
            run(estimator, parameters)
            optimizer.step()
        return [*parameters.values(), *estimator.targets.values.values()]

    first, parameters = make(), fresh()
    go_on(first, parameters)
    second, copied = make(), copy.deepcopy(parameters)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    torch.testing.assert_close(go_on(second, copied), go_on(first, parameters), rtol=0, atol=0)


def test_what_does_not_fit_is_refused_in_one_line():
    with pytest.raises(
        ProgramError,
        match=r"learns from replayed steps .*the batch is of type Tensor; estimators that need none: ",
    ):
        SAC().backward(Program(continuous, batch_axes=1), fresh(), STATES)

    def silent(context: Context, parameters: Parameters, batch: Decisions) -> None:
        context.cost(parameters["mean"] * batch.observations)

    with pytest.raises(ProgramError, match=r"reports none \(context.action_values\)"):
        run(TD3(), fresh(), silent)

    def twice(context: Context, parameters: Parameters, batch: Decisions) -> None:
        continuous(context, parameters, batch)
        context.action_values(torch.zeros(2, 1, 3))

    with pytest.raises(ProgramError, match="called twice"):
        run(TD3(), fresh(), twice)

    def wrong(context: Context, parameters: Parameters, batch: Decisions) -> None:
        context.action_values(torch.zeros(3))

    with pytest.raises(ProgramError, match=r"shape \[3\]; expected \[critics, ...\]"):
        run(TD3(), fresh(), wrong)

    def of_all(context: Context, parameters: Parameters, batch: Decisions) -> None:
        context.action_values(torch.zeros(2, 1, 3, 3))
        context.cost(parameters["mean"] * batch.observations)

    with pytest.raises(ProgramError, match=r"critics of the action taken, .* \[2, 1, 3, 3\]"):
        run(TD3(), fresh(), of_all)
    with pytest.raises(ProgramError, match=r"one critic of all actions, .* \[2, 1, 3, 3\]"):
        run(DQN(), fresh(), of_all)
    estimator = TD3()
    estimator.targets.values, estimator.targets.updates = {"mean": torch.zeros(2)}, 2
    with pytest.raises(UserError, match=r"target network's 'mean' is \[2\], the model's \[\]"):
        run(estimator, fresh())


def test_the_plan_counts_steps_and_lowers_epsilon_on_a_straight_line():
    plan = ReplayPlan(
        capacity=9, batch_size=2, warmup_steps=100, steps_per_update=4, epsilon=(1.0, 0.2, 50)
    )
    assert [plan.steps_before(k) for k in (0, 1, 10)] == [100, 104, 140]
    assert [plan.epsilon_after(k) for k in (0, 25, 50, 900)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
