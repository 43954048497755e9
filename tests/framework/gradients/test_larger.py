"""Larger oracles: a stochastic sketch, whose expected loss is known at any number of strokes, and Kuhn poker."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, OneHotCategorical

from framework.gradients.estimate import estimate
from framework.program import Program
from tests.framework.gradients.problems import Problem, assert_unbiased, gradients

# --- A sketch: each stroke is drawn with its own probability; ink is joined by soft-or.

PIXELS = 12


def sketch(strokes: int) -> Problem:
    """Stroke i covers pixel x by a share a_i(x) in [0, 1]; ink 1 - prod(1 - z_i a_i) is compared with a target."""
    stream = torch.Generator().manual_seed(3)
    cover = torch.rand(strokes, PIXELS, generator=stream)
    target = torch.rand(PIXELS, generator=stream)
    logits = torch.linspace(-2.5, 1.5, strokes)  # uneven: biased estimators look good at 1/2

    def program(context, parameters, batch):
        drawn = context.sample("stroke", Bernoulli(logits=parameters["logits"]))
        paper = (1 - drawn.unsqueeze(-1) * cover).prod(-2)
        context.cost((1 - paper - target).square().mean(-1))

    def expected(p):
        chance = p["logits"].sigmoid().unsqueeze(-1)
        paper = (1 - chance * cover).prod(0)
        square = (1 - chance * (2 * cover - cover.square())).prod(0)
        return (square - 2 * (1 - target) * paper + (1 - target).square()).mean()

    return Problem("sketch", Program(program), {"logits": logits}, expected, "finite")


SKETCH = sketch(10)


def test_all_subsets_of_strokes_give_the_closed_form():
    found = estimate(SKETCH.program, SKETCH.parameters, estimator="exact")
    assert found.evaluations == 1024
    assert not found.biased
    torch.testing.assert_close(found.gradients, SKETCH.gradients(), atol=1e-6, rtol=1e-4)
    assert found.value == pytest.approx(SKETCH.objective(SKETCH.parameters).item(), rel=1e-5)


UNBIASED = ["reinforce", "rloo", "arm", "disarm", "measure_valued", "rebar", "relax", "automatic"]


@pytest.mark.parametrize("estimator", UNBIASED)
def test_a_sketch_is_estimated_without_bias(estimator):
    found = gradients(SKETCH, estimator, repeats=40, samples=96)
    assert_unbiased(found, SKETCH.gradients(), tolerance=1e-6)


@pytest.mark.parametrize("estimator", ["rloo", "disarm", "rebar", "automatic"])
def test_a_sketch_of_more_strokes_than_can_be_enumerated_is_too(estimator):
    problem = sketch(60)
    found = gradients(problem, estimator, repeats=40, samples=96)
    assert_unbiased(found, problem.gradients(), tolerance=1e-7)


def test_straight_through_is_off_at_uneven_probabilities():
    found = gradients(SKETCH, "straight_through", repeats=36, samples=178)["logits"]
    true = SKETCH.gradients()["logits"]
    error = found.std(0) / 6
    assert ((found.mean(0) - true).abs() / error).max() > 10


# --- Kuhn poker: three cards, one each; both ante 1; check or bet 1; fold or call. Player 1's loss is the cost.

DEALS = list(itertools.permutations(range(3), 2))  # the cards of players 1 and 2; 2 beats 1 beats 0
CHECK, BET = 0, 1  # to fold is CHECK after a bet, to call is BET


def loss(cards: tuple[int, int], actions: tuple[int, ...]) -> float:
    """What player 1 loses in a finished game."""
    showdown = 1.0 if cards[0] < cards[1] else -1.0
    if actions == (BET, CHECK):  # player 2 folds
        return -1.0
    if actions == (CHECK, BET, CHECK):  # player 1 folds
        return 1.0
    return showdown if actions == (CHECK, CHECK) else 2 * showdown


GAMES = [(CHECK, CHECK), (CHECK, BET, CHECK), (CHECK, BET, BET), (BET, CHECK), (BET, BET)]


def tree_sum(p: dict[str, Tensor]) -> Tensor:
    """Player 1's expected loss: the sum over 6 deals and 5 games.

    `first[card, 0]` are the logits of player 1's opening, `first[card, 1]` of its answer to a bet; `second[card, a]`
    are those of player 2 after player 1's action a. The last axis is check, bet.
    """
    first, second = p["first"].softmax(-1), p["second"].softmax(-1)
    terms = []
    for (one, two), actions in itertools.product(DEALS, GAMES):
        chance = first[one, 0, actions[0]] * second[two, actions[0], actions[1]] / len(DEALS)
        if len(actions) == 3:
            chance = chance * first[one, 1, actions[2]]
        terms.append(chance * loss((one, two), actions))
    return torch.stack(terms).sum()


def kuhn_in_turns(context, parameters, batch):
    """The game as a person would write it: real branches, one game at a time."""

    def act(name: str, logits: Tensor) -> int:
        return int(context.sample(name, OneHotCategorical(logits=logits)).argmax())

    one, two = DEALS[act("deal", torch.zeros(len(DEALS)))]
    actions = [act("opening", parameters["first"][one, 0])]
    actions.append(act("answer", parameters["second"][two, actions[0]]))
    if actions == [CHECK, BET]:
        actions.append(act("last", parameters["first"][one, 1]))
    context.cost(loss((one, two), tuple(actions)))


# The loss by deal and three actions, the last of which counts after check, bet only.
LOSSES = torch.tensor(
    [
        [
            [
                [loss(d, (a, b, c) if (a, b) == (CHECK, BET) else (a, b)) for c in (0, 1)]
                for b in (0, 1)
            ]
            for a in (0, 1)
        ]
        for d in DEALS
    ]
)
CARDS = torch.eye(3)[torch.tensor(DEALS)]  # [deals, players, cards]


def kuhn(context, parameters, batch):
    """All samples at once and defined between the values, so that relaxations can serve it too."""
    deal = context.sample("deal", OneHotCategorical(logits=torch.zeros(len(DEALS))))
    one, two = (deal @ CARDS[:, player] for player in (0, 1))
    opening = context.sample(
        "opening", OneHotCategorical(logits=one @ parameters["first"][:, 0]), per_sample=True
    )
    logits = torch.einsum("nc,cab,na->nb", two, parameters["second"], opening)
    answer = context.sample("answer", OneHotCategorical(logits=logits), per_sample=True)
    last = context.sample(
        "last", OneHotCategorical(logits=one @ parameters["first"][:, 1]), per_sample=True
    )
    context.cost(torch.einsum("nd,na,nb,nc,dabc->n", deal, opening, answer, last, LOSSES))


def kuhn_of_bets(context, parameters, batch):
    """The six deals as a batch of data and every action a Bernoulli bet, for estimators that know these only."""
    one, two = CARDS.unbind(1)  # [6, cards]
    bets = {name: p[..., BET] - p[..., CHECK] for name, p in parameters.items()}
    opening = context.sample("opening", Bernoulli(logits=one @ bets["first"][:, 0]), per_datum=True)
    answers = two @ bets["second"]
    chosen = torch.where(opening > 0.5, answers[:, BET], answers[:, CHECK])
    answer = context.sample("answer", Bernoulli(logits=chosen), per_sample=True, per_datum=True)
    last = context.sample("last", Bernoulli(logits=one @ bets["first"][:, 1]), per_datum=True)
    deals = torch.arange(len(DEALS))
    context.cost(LOSSES[deals, opening.long(), answer.long(), last.long()], per_datum=True)


POLICIES = {
    "first": torch.tensor(
        [[[0.3, -0.4], [0.6, -0.2]], [[0.5, 0.1], [-0.3, 0.2]], [[-0.5, 0.4], [-0.7, 0.6]]]
    ),
    "second": torch.tensor(
        [[[0.2, -0.1], [0.9, -0.3]], [[0.4, 0.0], [0.1, 0.3]], [[-0.6, 0.5], [-0.8, 0.7]]]
    ),
}
IN_TURNS = Problem(
    "kuhn", Program(kuhn_in_turns, one_sample_at_a_time=True), POLICIES, tree_sum, "finite"
)
AT_ONCE = Problem("kuhn", Program(kuhn), POLICIES, tree_sum, "finite")
OF_BETS = Problem(
    "kuhn", Program(kuhn_of_bets, batch_axes=1), POLICIES, tree_sum, "finite", torch.zeros(6)
)


def equilibrium(bluff: float) -> dict[str, Tensor]:
    """One of the equilibria: player 1 bluffs with the lowest card `bluff` of the time, 0 to 1/3."""
    bets = {
        "first": [[bluff, 0.0], [0.0, bluff + 1 / 3], [3 * bluff, 1.0]],
        "second": [[1 / 3, 0.0], [0.0, 1 / 3], [1.0, 1.0]],
    }
    chances = {name: torch.tensor(b).clamp(1e-7, 1 - 1e-7) for name, b in bets.items()}
    return {name: torch.stack([1 - b, b], -1).log() for name, b in chances.items()}


@pytest.mark.parametrize("problem", [IN_TURNS, AT_ONCE, OF_BETS])
@pytest.mark.parametrize("bluff", [0.0, 0.2, 1 / 3])
def test_kuhn_poker_is_worth_minus_an_eighteenth(problem, bluff):
    policies = equilibrium(bluff)
    found = estimate(problem.program, policies, problem.batch, estimator="exact")
    assert -found.value == pytest.approx(-1 / 18, abs=1e-5)
    assert -tree_sum(policies).item() == pytest.approx(-1 / 18, abs=1e-5)


@pytest.mark.parametrize(("problem", "states"), [(IN_TURNS, 30), (AT_ONCE, 48), (OF_BETS, 8)])
def test_enumeration_gives_the_tree_sum_s_gradient(problem, states):
    found = estimate(problem.program, problem.parameters, problem.batch, estimator="exact")
    assert found.evaluations == states
    assert not found.biased
    torch.testing.assert_close(found.gradients, problem.gradients(), atol=1e-6, rtol=1e-4)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("problem", "estimator"),
    [
        *((AT_ONCE, e) for e in ("reinforce", "rloo", "measure_valued", "rebar", "relax")),
        *((OF_BETS, e) for e in ("reinforce", "rloo", "measure_valued", "relax")),
        *((OF_BETS, e) for e in ("arm", "disarm")),
        (AT_ONCE, "automatic"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.program.function.__name__,
)
def test_kuhn_poker_is_estimated_without_bias(problem, estimator):
    found = gradients(problem, estimator, repeats=40, samples=96)
    assert_unbiased(found, problem.gradients(), tolerance=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["reinforce", "rloo"])
def test_kuhn_poker_in_turns_is_estimated_without_bias(estimator):
    found = gradients(IN_TURNS, estimator, repeats=40, samples=32)
    assert_unbiased(found, IN_TURNS.gradients(), tolerance=0.0)
