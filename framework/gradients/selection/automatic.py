"""Automatic choice: measure the estimators that can serve a program and use the best by variance x seconds.

At equal time an estimator of variance v and duration t is as good as v t: n repetitions take n t and leave v / n.
Only unbiased estimators are candidates, and even those are tested for bias first: a reparameterised draw under a branch
is biased without knowing it. A candidate is refused if its mean is off twice, against two references, neither of which
is the candidate itself; one that gave anything that is not finite is out. A declared bias is accepted only where the
user set `bias_tolerance`, and only if the measured bias is a smaller part of the gradient.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from framework.capabilities import Capabilities, estimators
from framework.config.types import CountOrZero, Positive
from framework.errors import ProgramError, UserError
from framework.gradients.enumeration.exact import Exact
from framework.gradients.estimate import make_estimator
from framework.gradients.estimator import Estimate, Estimator
from framework.gradients.selection.quality import Quality, Reference, measure, reference
from framework.parameters import Parameters
from framework.plugin import registry
from framework.program import Program
from framework.randomness import fresh_key, key
from framework.saved_state import check_saved

SUSPICIOUS_Z = 4.0


@dataclass(frozen=True)
class Verdict:
    """The assessment of one candidate; `refused` says why it cannot be chosen, empty where it can."""

    name: str
    quality: Quality | None
    refused: str = ""

    @property
    def score(self) -> float:
        return math.inf if self.quality is None else self.quality.variance_times_seconds

    def __str__(self) -> str:
        if self.quality is None:
            return f"{self.name}: {self.refused}"
        figures = f"variance {self.quality.variance:.3g} x {1e3 * self.quality.seconds:.3g} ms = {self.score:.3g}"
        return f"{self.name}: {figures}{f', {self.refused}' if self.refused else ''}"


@Capabilities(
    draws=("any",), evaluations="those of its choice and of the measurement", delegates=True
)
class Automatic(Estimator):
    """Measures the estimators that can serve the program and uses the best by variance x seconds."""

    def __init__(
        self,
        *,
        samples: Annotated[int, Field(ge=2)] = 64,
        candidates: list[str] | None = None,
        every: CountOrZero = 500,
        repeats: Annotated[int, Field(ge=4)] = 32,
        bias_tolerance: Positive | None = None,
    ) -> None:
        declared = {component.name: capabilities for component, capabilities in estimators()}
        names = list(candidates or (name for name, c in declared.items() if c.automatic))
        known = set(registry().names("estimators"))
        for name in names:
            if candidates and (name not in known or name == "automatic"):
                raise UserError(f"estimator.candidates: no estimator '{name}'")
        self.samples = samples
        self.candidates = {n: make_estimator(n, samples) for n in names}
        self.declared_biased = {
            name for name in names if name in declared and declared[name].biased
        }
        self.every = every
        self.repeats = repeats
        self.bias_tolerance = bias_tolerance
        self.chosen = ""
        self.calls = 0
        self.verdicts: list[Verdict] = []
        self.pending: list[str] = []

    def backward(
        self,
        program: Program,
        parameters: Parameters,
        batch: Any = None,
        *,
        scale: float | Tensor = 1.0,
    ) -> Estimate:
        """Measure where it is due, then use the chosen estimator."""
        if not self.chosen or (self.every and self.calls % self.every == 0):
            self.choose(program, parameters, batch)
        self.calls += 1
        return self.candidates[self.chosen].backward(program, parameters, batch, scale=scale)

    def choose(self, program: Program, parameters: Parameters, batch: Any) -> None:
        """Measure every candidate at these parameters and choose the best.

        Raises:
            ProgramError: none can serve the program; says why of each.
        """
        seed, unread = fresh_key(), list(program.findings.messages)
        references = self.references(program, parameters, batch, seed)
        self.verdicts = [
            self.assess_candidate(name, program, parameters, batch, seed, references(name))
            for name in self.candidates
        ]
        able = [verdict for verdict in self.verdicts if not verdict.refused]
        if not able:
            reasons = "; ".join(str(verdict) for verdict in self.verdicts)
            raise ProgramError(f"automatic: no candidate can serve the program: {reasons}")
        best = min(able, key=lambda verdict: verdict.score)
        self.chosen = best.name
        if best.quality is None or not best.quality.biased:
            # What was found of the other candidates, their verdicts say.
            program.findings.messages[:] = unread
        self.pending = [f"automatic: {self.chosen}, by variance x seconds", *self.report()]

    def references(
        self, program: Program, parameters: Parameters, batch: Any, seed: int
    ) -> Callable[[str], Reference | None]:
        """What each candidate is compared with: the best reference that is not the candidate itself."""

        @cache
        def without(name: str) -> Reference | None:
            return reference(
                program,
                parameters,
                batch,
                seed=seed,
                samples_per_bound=self.samples,
                without=name,
            )

        def of(name: str) -> Reference | None:
            usual = without("")
            # One with which no candidate shares its name serves all others.
            itself = usual is not None and usual.estimator == name
            return without(name) if itself else usual

        return of

    def assess_candidate(
        self,
        name: str,
        program: Program,
        parameters: Parameters,
        batch: Any,
        seed: int,
        against: Reference | None,
    ) -> Verdict:
        """Whether a candidate can serve, whether it can be trusted, and how good it is."""
        estimator = copy.deepcopy(self.candidates[name])
        # The exact gradient does not vary.
        repeats = 2 if isinstance(estimator, Exact) else self.repeats

        def measure_against(seed: int, against: Reference | None) -> Quality:
            def batches(number: int) -> Any:
                return batch

            return measure(
                estimator,
                program,
                parameters,
                batches,
                repeats=repeats,
                seed=seed,
                against=against,
            )

        try:
            found = measure_against(seed, against)
            # Now and then a large z is bad luck.
            if name not in self.declared_biased and self.distrust(name, found):
                again = key(seed, "again")
                against = self.references(program, parameters, batch, again)(name)
                found = measure_against(again, against)
        except (ProgramError, NotImplementedError) as error:
            return Verdict(name, None, str(error).partition(";")[0])
        if not math.isfinite(found.variance):
            return Verdict(name, None, "it gave a gradient or an objective that is not finite")
        return Verdict(name, found, self.distrust(name, found))

    def distrust(self, name: str, found: Quality) -> str:
        """Why an estimator's gradient is not to be trusted; empty where it is."""
        off = abs(found.norm_ratio - 1) + max(0.0, 1 - found.cosine)
        tolerated = found.biased and self.bias_tolerance is not None
        if name not in self.declared_biased and not tolerated and found.bias_z > SUSPICIOUS_Z:
            return f"its mean is {found.bias_z:.1f} standard errors off the reference"
        if found.biased and self.bias_tolerance is None:
            return "biased, and estimator.bias_tolerance is not set"
        if found.biased and not off <= (self.bias_tolerance or 0.0):
            return f"biased: {off:.2g} of the gradient"
        return ""

    def messages(self) -> list[str]:
        messages, self.pending = self.pending, []
        return messages

    def report(self) -> list[str]:
        """What was measured, a line for each candidate, the chosen one first."""
        ordered: Sequence[Verdict] = sorted(
            self.verdicts, key=lambda v: (v.name != self.chosen, v.score)
        )
        return [str(verdict) for verdict in ordered]

    def state_dict(self) -> dict[str, Any]:
        states = {name: candidate.state_dict() for name, candidate in self.candidates.items()}
        return {"chosen": self.chosen, "calls": self.calls, "candidates": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_saved(
            "automatic", state, chosen=str, calls=CountOrZero, candidates=dict[str, dict[str, Any]]
        )
        self.chosen, self.calls = state["chosen"], state["calls"]
        strangers = {*state["candidates"], *filter(None, [self.chosen])} - set(self.candidates)
        if strangers:
            raise UserError(
                f"checkpoint: automatic has chosen among {sorted(strangers)}, no candidates of it"
            )
        for name, saved in state["candidates"].items():
            self.candidates[name].load_state_dict(saved)
