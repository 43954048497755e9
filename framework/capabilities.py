"""What each estimator can serve, declared once beside it.

An estimator's class or factory carries the declaration as a decorator with literal arguments:

    @Capabilities(draws=("Bernoulli",), evaluations="2n")
    class Arm(Estimator): ...

It is read from the source without importing it. Refusals ("estimators that can serve it: ..."), the candidates of
`automatic`, `diffobj plugins` and README's table are made from these declarations, installed packages' included.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from framework.errors import UserError
from framework.plugin import Component, registry

Factory = TypeVar("Factory")
Costs = Literal["differentiable", "any", "values"]
Bounds = Literal["refused", "served", "speciality"]

LONGEST = 6
WORDS = {"OneHotCategorical": "one-hot", "Categorical": "categorical"}
PATHS = {
    "path": "draws with a differentiable path",
    "forward path": "draws with a path that torch differentiates forwards",
}
COSTS = {
    "differentiable": "costs differentiable in the draws",
    "any": "any cost",
    "values": "by values only",
}


# What the program that runs now needs, whatever its draws: refusals raised in it name no estimator that lacks it.
NEEDED: ContextVar[Mapping[str, bool]] = ContextVar("NEEDED", default={})  # noqa: B039  (it is not changed)


@contextmanager
def needing(**needs: bool) -> Iterator[None]:
    """Inside the block a program with these needs runs (see `Capabilities.serves`)."""
    before = NEEDED.set({name: True for name, needed in needs.items() if needed})
    try:
        yield
    finally:
        NEEDED.reset(before)


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What an estimator serves and at which price; decorates the estimator.

    Args:
        draws: families of draws: "any"; names of torch's distributions; "finite" (finitely many values), "path" (a
            differentiable path) or "forward path" (one along which torch can differentiate forwards).
        evaluations: of the objective for one estimate, in words, such as "2n for each parameter".
        costs: "differentiable": needs the costs' derivatives with respect to the draws; "any": a cost may be a black
            box in the draws; "values": a black box in the parameters, too.
        recorded_actions: draws made earlier, such as those of recorded episodes.
        value_predictions: serves recorded steps with value predictions (`context.value`), and nothing else.
        action_values: serves replayed steps with a critic's values (`context.action_values`), and nothing else.
        one_sample_at_a_time: programs that run one sample at a time.
        multi_sample_bounds: `context.bound`; "speciality": refusals name the estimator for bounds alone.
        higher_derivatives: derivatives of any order, by `framework.surrogate`.
        own_randomness: programs that are random by other means than their draws.
        moving_support: draws whose possible values depend on a parameter, such as Uniform(0, t).
        boundary: draws with a probability of 0 or 1 that a parameter moves.
        relaxed: the program sees values between those of a discrete draw.
        biased: whether the expectation of the gradient may differ from the objective's gradient.
        bias: which bias, in words.
        automatic: a candidate of `automatic`.
        divided_model: its gradient comes by one backward pass through the model as it is, which a model divided among
            processes needs (`trainer.sharding`).
        delegates: chooses among other estimators; refusals do not name it.

    Raises:
        UserError: a word that means nothing here.
    """

    draws: tuple[str, ...]
    evaluations: str
    costs: Costs = "any"
    recorded_actions: bool = False
    value_predictions: bool = False
    action_values: bool = False
    one_sample_at_a_time: bool = True
    multi_sample_bounds: Bounds = "refused"
    higher_derivatives: bool = False
    own_randomness: bool = True
    moving_support: bool = False
    boundary: bool = False
    relaxed: bool = False
    biased: bool = False
    bias: str = ""
    automatic: bool = False
    divided_model: bool = False
    delegates: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.draws, tuple) or not self.draws:
            raise UserError(f"capabilities: draws = {self.draws!r}; expected names, ('Normal',)")
        for name, choices in (
            ("costs", get_args(Costs)),
            ("multi_sample_bounds", get_args(Bounds)),
        ):
            if getattr(self, name) not in choices:
                expected = ", ".join(choices)
                raise UserError(
                    f"capabilities: {name} = {getattr(self, name)!r}; expected {expected}"
                )

    def __call__(self, factory: Factory) -> Factory:
        """Mark an estimator's class or factory."""
        if isinstance(factory, type):
            factory.supports_recorded_actions = self.recorded_actions  # type: ignore[attr-defined]
            factory.declared = self  # type: ignore[attr-defined]
        return factory

    @property
    def specificity(self) -> float:
        """How many families it serves: the fewer, the more is it built for each."""
        return float("inf") if "any" in self.draws else len(self.draws)

    def serves_draw(self, families: Collection[str]) -> bool:
        return "any" in self.draws or not set(families).isdisjoint(self.draws)

    def serves(
        self,
        draws: Collection[Collection[str]] | None = None,
        *,
        recorded_actions: bool = False,
        value_predictions: bool = False,
        action_values: bool = False,
        black_box: bool = False,
        values_only: bool = False,
        one_sample_at_a_time: bool = False,
        multi_sample_bounds: bool = False,
        higher_derivatives: bool = False,
        own_randomness: bool = False,
        hard: bool = False,
        moving_support: bool = False,
        boundary: bool = False,
    ) -> bool:
        """Whether it can serve a program.

        Args:
            draws: the families of each draw, such as {"Bernoulli", "finite"}; None: they are not known.
            black_box: the costs have no derivative with respect to the draws.
            values_only: nor one with respect to the parameters.
            hard: the program accepts none but a draw's own values.
            **others: as the declaration's, when the program needs it.
        """
        known = all(map(self.serves_draw, draws)) if draws is not None else "any" in self.draws
        bounds = "refused" if multi_sample_bounds else "speciality"
        return (
            known
            and not self.delegates
            and self.value_predictions == value_predictions
            and self.action_values == action_values
            and self.multi_sample_bounds != bounds
            and (self.recorded_actions or not recorded_actions)
            and (self.costs != "differentiable" or not black_box)
            and (self.costs == "values" or not values_only)
            and (self.one_sample_at_a_time or not one_sample_at_a_time)
            and (self.higher_derivatives or not higher_derivatives)
            and (self.own_randomness or not own_randomness)
            and not (self.relaxed and hard)
            and (self.moving_support or not moving_support)
            and (self.boundary or not boundary)
        )

    def description(self) -> str:
        """What it serves, in one line."""
        if self.value_predictions:
            return "recorded steps with value predictions"
        if self.action_values:
            return "replayed steps with a critic's action values"
        draws = "any draw"
        if "any" not in self.draws:
            named = [WORDS.get(d, d) for d in self.draws if d not in PATHS]
            groups = [f"{enumerated(named)} draws"] if named else []
            draws = ", ".join(groups + [PATHS[d] for d in self.draws if d in PATHS])
        besides = {
            "recorded actions": self.recorded_actions,
            "multi-sample bounds": self.multi_sample_bounds != "refused",
            "derivatives of any order": self.higher_derivatives,
            "not one sample at a time": not self.one_sample_at_a_time,
        }
        return "; ".join(
            [f"{draws}, {COSTS[self.costs]}", *(what for what, it in besides.items() if it)]
        )

    def bias_in_words(self) -> str:
        return f"{'yes' if self.biased else 'no'}{f', {self.bias}' if self.bias else ''}"


def enumerated(words: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def declared_by(component: Component) -> Capabilities | None:
    """What an estimator declares; None where it declares nothing.

    Raises:
        UserError: a declaration that cannot be read.
    """
    declaration = component.decoration(Capabilities.__name__)
    if declaration is None:
        return None
    try:
        return Capabilities(**declaration)
    except (TypeError, UserError) as error:
        reason = str(error).removeprefix("Capabilities.__init__() ").removeprefix("capabilities: ")
        raise UserError(f"estimator '{component.name}': capabilities: {reason}") from None


def estimators() -> Iterator[tuple[Component, Capabilities]]:
    """Every registered estimator whose declaration can be read, in the registry's order."""
    for component in registry().group("estimators"):
        try:
            found = declared_by(component)
        except UserError:  # `diffobj plugins` reports it
            continue
        if found is not None:
            yield component, found


def able(
    draws: Collection[Collection[str]] | None = None, *, without: str = "", **needs: Any
) -> list[str]:
    """The estimators that can serve a program with these needs (see `Capabilities.serves`), at most six.

    Unbiased ones first, the most specific first among them; then biased ones, those that serve any draw first; in the
    registry's order among equals. Two places are kept for estimators that serve any draw.
    """
    needs = {**NEEDED.get(), **needs}
    found = [
        (component.name, c)
        for component, c in estimators()
        if component.name != without and c.serves(draws, **needs)
    ]
    found.sort(
        key=lambda pair: (
            pair[1].multi_sample_bounds != "speciality",
            pair[1].biased,
            -pair[1].specificity if pair[1].biased else pair[1].specificity,
        )
    )
    general = [name for name, c in found if "any" in c.draws]
    particular = [name for name, c in found if "any" not in c.draws]
    kept = {*particular[: LONGEST - min(2, len(general))], *general}
    return [name for name, _ in found if name in kept][:LONGEST]


def alternatives(
    draws: Collection[Collection[str]] | None = None,
    *,
    without: str = "",
    what: str = "can serve it",
    **needs: Any,
) -> str:
    """The end of a refusal: `estimators that can serve it: ...`."""
    names = able(draws, without=without, **needs)
    return f"estimators that {what}: {', '.join(names)}" if names else f"no estimator {what}"
