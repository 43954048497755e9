"""The trials of a study in Optuna's database: each is taken by one process, and what it leaves is noted.

What is tried as trial n is drawn from random numbers of n's own, given the trials before it: a study that was killed
and goes on tries what it would have tried. (With several workers the order in which trials end counts, too.)
"""

from __future__ import annotations

import math
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from framework.errors import UserError
from framework.extras import Need
from framework.tuning.study_folder import Plan, StudyFolder

NEEDS = (Need("optuna", "tune", "diffobj tune needs Optuna"),)
GAUSSIAN_PROCESS = Need("scipy", "tune", "sampler=gp needs SciPy")
SAMPLERS = ("tpe", "gp", "random")
PRUNERS = ("median", "none")
# So many trials are random before a sampler makes use of them: a quarter of the default budget.
RANDOM_FIRST = 5
# Seconds for which one process waits while another writes.
PATIENCE = 60

State = Literal["finished", "pruned", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What became of one trial.

    Attributes:
        number: from 0; the name of its run folder within the study's.
        overrides: what was tried, as "key=value".
        state: "stopped": it has not ended, and goes on by the study's command.
        value: the metric that is sought; of a pruned trial as it was then; None: there was none.
        step: the step at which it ended; None: it has not, or failed.
        seconds: of training.
        error: why it failed.
        values: the metric at the steps at which it was judged while training.
    """

    number: int
    overrides: list[str]
    state: State
    value: float | None = None
    step: int | None = None
    seconds: float | None = None
    error: str = ""
    values: dict[int, float]


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A trial that this process has taken."""

    number: int
    overrides: list[str]
    optuna: Any
    claim: int
    pruned: int | None


class Trials:
    """A study's trials."""

    def __init__(self, folder: StudyFolder, plan: Plan) -> None:
        import optuna

        self.folder, self.plan = folder, plan
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        pruner = {"median": optuna.pruners.MedianPruner, "none": optuna.pruners.NopPruner}
        with self.alone():
            # The path is given past the URL, which would read some characters otherwise.
            storage = optuna.storages.RDBStorage(
                "sqlite:///study.db", engine_kwargs={"creator": self.connection}
            )
            self.study = optuna.create_study(
                study_name="study",
                storage=storage,
                direction="minimize" if plan.mode == "min" else "maximize",
                pruner=pruner[plan.pruner](),
                load_if_exists=True,
            )

    def connection(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder.database, timeout=PATIENCE, check_same_thread=False)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only process at the database inside the block.

        Raises:
            UserError: it is damaged, or the disk is full.
        """
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        with self.folder.locked():
            try:
                yield
            except (StorageInternalError, SQLAlchemyError) as error:
                cause = error.__cause__ or error
                why = str(getattr(cause, "orig", cause)).partition("\n")[0]
                raise UserError(f"{self.folder.database}: {why}") from None

    def take(self, limit: int) -> Taken | None:
        """A trial that was begun and that no living process has, else a new one; None: there is none left to begin.

        Args:
            limit: how many trials the study is to have.
        """
        from optuna.trial import Trial as OptunaTrial
        from optuna.trial import TrialState

        with self.alone():
            known = self.study.get_trials(deepcopy=False)
            for each in known:
                if each.state != TrialState.RUNNING:
                    continue
                claim = self.folder.claim(each.number)
                if claim is not None:
                    self.study.sampler = sampler(self.plan, each.number)
                    return self.asked(OptunaTrial(self.study, each._trial_id), claim)
            if len(known) >= limit:
                return None
            claim = self.folder.claim(len(known))
            if claim is None:
                raise UserError(f"{self.folder.path}: another process has trial {len(known)}")
            self.study.sampler = sampler(self.plan, len(known))
            return self.asked(self.study.ask(), claim)

    def left(self, limit: int) -> int:
        """How many trials are still to be trained, or to go on."""
        with self.alone():
            known = self.study.get_trials(deepcopy=False)
            return max(0, limit - len(known)) + sum(not t.state.is_finished() for t in known)

    def asked(self, trial: Any, claim: int) -> Taken:
        """A trial with what it tries."""
        tried = [f"{each.key}={each.suggest(trial)}" for each in self.plan.space]
        return Taken(
            number=trial.number,
            overrides=tried,
            optuna=trial,
            claim=claim,
            pruned=trial.user_attrs.get("pruned"),
        )

    def prunes(self, taken: Taken, step: int, value: float) -> bool:
        """Note a value while training, and whether the trial is to end there."""
        with self.alone():
            known = self.study.get_trials(deepcopy=False)[taken.number].intermediate_values
            # After a resume a step may come again, with the same value.
            if step in known:
                return False
            taken.optuna.report(value, step)
            pruned: bool = taken.optuna.should_prune()
            if pruned:
                taken.optuna.set_user_attr("pruned", step)
            return pruned

    def note(
        self,
        taken: Taken,
        state: State,
        *,
        value: float | None = None,
        **facts: Any,
    ) -> None:
        """Note how a trial has ended; `facts` are its step, seconds and error."""
        from optuna.trial import TrialState

        states = {
            "finished": TrialState.COMPLETE,
            "pruned": TrialState.PRUNED,
            "failed": TrialState.FAIL,
        }
        with self.alone():
            for name, fact in facts.items():
                taken.optuna.set_user_attr(name, fact)
            given = value if state == "finished" else None
            self.study.tell(taken.optuna, given, state=states[state])

    def found(self) -> list[Trial]:
        """What became of each trial, by number."""
        with self.alone():
            return [self.described(each) for each in self.study.get_trials(deepcopy=False)]

    def described(self, trial: Any) -> Trial:
        """What Optuna knows of a trial."""
        states: dict[str, State] = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}
        values = {int(step): float(v) for step, v in trial.intermediate_values.items()}
        value = None if trial.values is None else float(trial.values[0])
        return Trial(
            number=trial.number,
            overrides=[
                f"{each.key}={each.text(trial.params[each.key])}"
                for each in self.plan.space
                if each.key in trial.params
            ],
            state=states.get(trial.state.name, "stopped"),
            value=value if value is None or math.isfinite(value) else None,
            step=trial.user_attrs.get("step"),
            seconds=trial.user_attrs.get("seconds"),
            error=trial.user_attrs.get("error", ""),
            values=values,
        )

    def importance(self) -> dict[str, float]:
        """How much each key decides whether a trial is among the best quarter, in parts of 1 (PED-ANOVA).

        Empty where there are too few trials to say. (Watanabe et al. 2023, PED-ANOVA: Efficiently quantifying
        hyperparameter importance in arbitrary subspaces.)
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        evaluator = PedAnovaImportanceEvaluator(target_quantile=0.25)
        sign = 1.0 if self.plan.mode == "min" else -1.0
        # Optuna warns of what `sign` has taken care of.
        with self.alone(), warnings.catch_warnings(action="ignore"):
            finished = [
                t for t in self.study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"
            ]
            if len(finished) < 2 * RANDOM_FIRST:
                return {}
            found = get_param_importances(
                self.study, evaluator=evaluator, target=lambda t: sign * t.values[0]
            )
        return {key: value for key, value in found.items() if math.isfinite(value)}


def sampler(plan: Plan, number: int) -> Any:
    """What chooses for a trial.

    Tree-structured Parzen estimators (Bergstra et al. 2011), a Gaussian process, or uniform random numbers.
    """
    from numpy.random import SeedSequence
    from optuna import samplers

    seed = int(SeedSequence([plan.seed, number]).generate_state(1)[0])
    if plan.sampler == "random":
        return samplers.RandomSampler(seed=seed)
    if plan.sampler == "gp":
        return samplers.GPSampler(seed=seed, n_startup_trials=RANDOM_FIRST)
    return samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_FIRST)
