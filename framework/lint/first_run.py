"""The first run of a program by one kind of rule: watched, and judged when it is over."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable
from typing import Any

import torch

from framework.capabilities import alternatives
from framework.errors import ProgramError
from framework.lint.alone import differs_alone
from framework.lint.calls import Call
from framework.lint.context import WatchedContext, lacks_samples, tensors_of
from framework.lint.findings import Findings
from framework.lint.measure import ROUNDING, Cuts, cuts, differs, jumps, pairs, refuse_unsteady
from framework.lint.other_data import ROUNDS, follows_other_data, half
from framework.lint.replay import GivenDraws, Segments, UndecidedError, is_continuous
from framework.lint.reports import Reports
from framework.lint.sample_axis import Again, another_number, coincidence, failure
from framework.lint.shifted import ShiftedNumbers
from framework.lint.watch import Watch, has_memory
from framework.outside_state import OutsideState
from framework.randomness import key, seeded
from framework.recording.trace import Draw, Trace

# Of a program that runs one sample at a time: how many of its runs are looked at again.
RUNS = 8
# Places at which each line is looked at, at least; samples, at most; lines, and draws after one that is reported.
PAIRS = 16
SAMPLES = 64
LINES = 8
# Runs with other noise from outside torch: as many show whether a comparison with it comes out differently.
OTHER_NOISE = 4


class FirstRun:
    """All runs that make up a program's first one.

    Args:
        findings: where to note what is found.
        kind: of the run.
        again: runs the program with a rule for its draws and a leading shape, without record.
        outside: the program's random generators that are not torch's default ones.
        repeatable: whether it can be run again with the same result.
    """

    def __init__(
        self,
        findings: Findings,
        kind: Hashable,
        again: Again,
        outside: OutsideState,
        *,
        repeatable: bool,
    ) -> None:
        self.findings, self.kind, self.again, self.outside = findings, kind, again, outside
        self.repeatable = repeatable
        self.before = outside.states()
        self.contexts: list[WatchedContext] = []
        self.calls: dict[Call, None] = {}
        # The first call of which another run could not tell what it does.
        self.undecided: Call | None = None
        self.reports = Reports(findings)

    def context(self, *args: Any, **options: Any) -> WatchedContext:
        """The context of one of the runs."""
        context = WatchedContext(*args, watch=Watch(), **options)
        if not context.trace.recorded_trajectories:
            context.watch.samples, context.watch.data = (*context.trace.shape, 1)[:2]
        return context

    def run(self, function: Callable[..., None], context: Any, *arguments: Any) -> None:
        """Run the program's function under the watch.

        Raises:
            ProgramError: a tensor was changed in place after it was recorded.
        """
        with context.watch:
            function(context, *arguments)
        context.refuse_changes()
        context.look_for_lost_draws()
        self.calls |= context.watch.calls
        if len(self.contexts) < RUNS:
            self.contexts.append(context)

    def finish(self) -> None:
        """Judge what was seen.

        Raises:
            ProgramError: a cost that depends on a draw by no gradient, or that has lost the sample axis.
        """
        noise_from_outside = self.outside.states() != self.before
        with seeded(key(0, "lint")):
            for context in self.contexts:
                self.refuse_scalars(context)
                if context.watch.calls:
                    self.refuse_cuts(context)
            for call in list(self.calls)[:LINES]:
                if self.reports.any:
                    break
                self.look_for_jump(call)
            for context in self.contexts[:1] if not self.reports.any else ():
                for call in context.watch.straight_through:
                    self.reports.straight_through(call)
                self.look_for_lost_numbers(context)
                self.look_for_mixed_samples(context)
                self.look_for_mixed_data(context)
                self.look_for_coincidence(context)
                self.look_for_charged_penalties(context)
                if noise_from_outside:
                    self.look_for_outside_noise(context)
        self.findings.checked.add(self.kind)
        if self.undecided and not self.reports.any:
            self.findings.messages.append(
                f"a cost may jump in a draw, or follow it without a gradient, by {self.undecided}, and the program "
                "cannot be run again to see: where it does, the gradient along the draw's path is biased; "
                f"{alternatives(black_box=True)}"
            )

    def refuse_scalars(self, context: WatchedContext) -> None:
        """Refuse a cost of one number for all samples that was computed outside torch from a draw."""
        if not (context.unlabelled and self.repeatable and context.samples > 1):
            return
        names = [draw.name for draw in context.made]
        try:
            segments = self.segments(context, names)
            start = refuse_unsteady(segments, slopes=False)
            end = segments.at(torch.ones(segments.count), slopes=False)
            moved = [not torch.equal(a.value, b.value) for a, b in pairs(start, end)]
        except UndecidedError:
            return
        for number in context.unlabelled:
            if moved[number]:
                what = f"cost '{context.trace.costs[number].name}'"
                raise ProgramError(lacks_samples(what, names[-1]))

    def refuse_cuts(self, context: WatchedContext) -> None:
        """Refuse a draw with a path that responses follow by no gradient; report where they do so in part."""
        calls = [call for call in context.watch.calls if call.effect in ("cut", "escape")]
        draws = with_path(context)
        if not calls or not draws or self.reports.any:
            return
        try:
            if not self.disagree(context, {draw.name for draw in draws}):
                return
            judged = False
            for number, draw in enumerate(draws):
                # One is reported; of a few more it is seen whether they are to be refused.
                if judged and number >= LINES:
                    break
                found = self.disagree(context, {draw.name})
                if found:
                    judged = True
                    self.judge_cut(draw, found, calls[0])
        except UndecidedError:
            # An estimator that is biased anyway says so itself.
            if not all(draw.rule.biased for draw in draws):
                self.undecided = self.undecided or calls[0]

    def disagree(self, context: WatchedContext, moved: set[str]) -> Cuts:
        segments = self.segments(context, moved)
        return cuts(segments, refuse_unsteady(segments))

    def judge_cut(self, draw: Draw, found: Cuts, call: Call) -> None:
        """Refuse or report what follows a draw otherwise than its gradient says."""
        what = next(iter(found.off))
        if not found.followed:
            # Of a draw that follows the score function, its estimator knows.
            if not draw.rule.scored:
                raise ProgramError(
                    f"{what} depends on draw '{draw.name}', but by no gradient, which the draw's path needs: it is "
                    f"cut by {call}; keep it a tensor with its gradient, or choose an estimator that needs none; "
                    f"{alternatives(black_box=True)}"
                )
        elif not (draw.rule.biased or self.reports.any):
            self.reports.note(
                [draw],
                f"{what} follows draw '{draw.name}' by more than its gradient, a part of which is cut by {call}: the "
                f"gradient along the draw's path is biased; {alternatives(black_box=True)}",
            )

    def look_for_jump(self, call: Call) -> None:
        """Report a call that makes a cost jump."""
        if call.effect == "cut":
            return
        seen = [context for context in self.contexts if call in context.watch.calls]
        try:
            for context in seen:
                draws = [draw for draw in with_path(context) if not draw.rule.biased]
                if draws and self.jumps(call, context, draws, len(seen)):
                    self.reports.jump_in_draws(call, draws)
                    return
                if call in context.watch.parametric:
                    draws = continuous_draws(context)
                    if self.jumps(call, context, draws, len(seen), noise=True):
                        self.reports.jump_in_parameter(call)
                        return
        except UndecidedError:
            self.undecided = self.undecided or call

    def look_for_lost_numbers(self, context: WatchedContext) -> None:
        """Report a call that takes a parameter's value out of torch, where a cost depends on what it returns."""
        try:
            for call in list(context.watch.numbers)[:LINES]:
                segments = self.segments(context, ())
                start = refuse_unsteady(segments, slopes=False)
                with ShiftedNumbers(call):
                    end = segments.at(torch.zeros(segments.count), slopes=False)
                if any(not torch.equal(a.value, b.value) for a, b in pairs(start, end)):
                    self.reports.lost_number(call)
                    return
        except UndecidedError:
            # Most such numbers are for the user's eyes.
            return

    def look_for_mixed_samples(self, context: WatchedContext) -> None:
        """Report a cost of one sample that follows the draws of another: by its values, or by the way that it goes.

        Values of others are meant where the draws' paths are differentiated; under the score function they are not
        charged with them.
        """
        if not (context.watch.mixing and all(has_memory(draw.value) for draw in context.made)):
            return
        scored = scored_with_a_gradient(context)
        paths = [draw for draw in with_path(context) if not draw.rule.biased]
        try:
            if scored and (what := self.follows_other_samples(context, scored)):
                self.reports.mixed_samples(context, scored, what)
            elif paths and self.follows_other_samples(context, paths):
                # Then a sample alone is meant to cost something else.
                return
            elif (scored or paths) and self.goes_with_others(context):
                self.reports.shared_way(context, [*scored, *paths])
        except UndecidedError:
            # Most such calls do not reach a cost.
            return

    def follows_other_samples(self, context: WatchedContext, draws: list[Draw]) -> str | None:
        """What of a sample follows these draws of others, such as "cost 'cost'"; None: nothing is seen to.

        Raises:
            UndecidedError: the program cannot be run again in the same way.
        """
        segments = self.segments(context, {draw.name for draw in draws})
        start = refuse_unsteady(segments, slopes=False)
        for number in range(ROUNDS):
            moved = half(segments.count, number)
            end = segments.at(moved.float(), slopes=False)
            for a, b in pairs(start, end):
                others = a.value[~moved], b.value[~moved]
                if not torch.allclose(*others, rtol=ROUNDING, equal_nan=True) and not a.added:
                    return a.key[0]
        return None

    def goes_with_others(self, context: WatchedContext) -> bool:
        """Whether a sample costs something else alone; see `alone`."""
        samples, *batch = context.trace.shape
        shape = (min(samples, SAMPLES), *batch)
        return self.repeatable and differs_alone(self.again, context.made, shape)

    def look_for_mixed_data(self, context: WatchedContext) -> None:
        """Report a value of one datum that follows the scored draws of another.

        Raises:
            ProgramError: they are summed over, and what the program costs on average is lost as well.
        """
        draws = [draw for draw in scored_with_a_gradient(context) if draw.axes.per_datum]
        if self.reports.any and not any(draw.rule.name == "exact" for draw in draws):
            return
        memory = all(has_memory(draw.value) for draw in context.made)
        if not (context.watch.mixing_data and draws and memory and self.repeatable):
            return
        samples, *batch = context.trace.shape
        shape, moved = (min(samples, SAMPLES), *batch), {draw.name for draw in draws}
        try:
            what = follows_other_data(self.again, context.made, moved, shape)
        except UndecidedError:
            # Most such calls do not reach a cost.
            return
        if what is not None:
            self.reports.mixed_data(context, draws, what)

    def look_for_coincidence(self, context: WatchedContext) -> None:
        """Warn where a value is as long as there are samples, and the program runs with no other number of them."""
        calls = list(context.watch.aligned)
        if not (calls and self.repeatable) or self.reports.any:
            return
        samples, *batch = context.trace.shape
        other = another_number(samples)
        error = failure(self.again, (other, *batch))
        # What fails with any number tells nothing.
        if error is not None and failure(self.again, (samples, *batch)) is None:
            self.findings.messages.append(coincidence(calls[0], samples, other, error))

    def look_for_charged_penalties(self, context: WatchedContext) -> None:
        """Report a penalty that depends on a scored draw, which is not charged with it."""
        for draw in scored_with_a_gradient(context):
            for penalty, names in context.penalised.items():
                if draw.name in names:
                    self.reports.charged_penalty(draw, penalty)
                    return

    def look_for_outside_noise(self, context: WatchedContext) -> None:
        """Warn where a parameter meets noise that is not torch's, which cannot be moved to see whether a cost jumps."""
        try:
            for call in list(context.watch.unnamed)[:LINES]:
                runs = [self.segments(context, (), number) for number in range(OTHER_NOISE)]
                first, *others = [run.at(torch.zeros(run.count), call).outcomes for run in runs]
                if any(differs(first, other, runs[0].count).any() for other in others):
                    self.reports.outside_noise(call)
                    return
        except UndecidedError:
            self.undecided = self.undecided or call

    def jumps(
        self, call: Call, context: WatchedContext, draws: list[Draw], seen: int, noise: bool = False
    ) -> bool:
        """Whether a cost jumps by this call while these draws move, and the program's own noise where that is asked.

        Raises:
            UndecidedError: the program cannot be run again in the same way.
        """
        if not all(has_memory(draw.value) for draw in context.made):
            # It cannot be moved to see.
            if noise:
                raise UndecidedError("a draw is an index that is drawn softly")
            return True
        moved = {draw.name for draw in draws}
        for number in range(max(1, PAIRS // (math.prod(context.trace.shape) * seen))):
            segments = self.segments(context, moved, number, noise)
            refuse_unsteady(segments, slopes=False)
            if jumps(segments, call):
                return True
            if segments.left:
                raise UndecidedError(
                    "noise without the sample axis cannot be moved sample by sample"
                )
        return False

    def segments(
        self,
        context: WatchedContext,
        moved: Collection[str],
        number: int = 0,
        noise: bool = False,
    ) -> Segments:
        """The ways of some draws of a run; of some of its samples, where there are many.

        Args:
            number: of these ways; the program's own noise is another in each.
            noise: whether that noise moves as well.

        Raises:
            UndecidedError: the program cannot be run again.
        """
        if not self.repeatable:
            raise UndecidedError("the program keeps a state")
        samples = min(context.trace.shape[0], SAMPLES)
        shape = (samples, *context.trace.shape[1:])

        def rerun(given: GivenDraws) -> Trace:
            with seeded(key(1, "lint", number)):
                return self.again(given, shape)

        other = key(2, "lint", number) if noise else None
        return Segments(rerun, context.made, moved, samples, other)


def with_path(context: WatchedContext) -> list[Draw]:
    return [draw for draw in context.made if draw.name in context.watch.paths]


def scored_with_a_gradient(context: WatchedContext) -> list[Draw]:
    """The draws that follow the score function and whose distribution depends on a parameter."""
    return [
        draw
        for draw in context.made
        if draw.rule.scored
        and not draw.rule.biased
        and any(value.requires_grad for value in tensors_of(draw.distribution))
    ]


def continuous_draws(context: WatchedContext) -> list[Draw]:
    """The draws that may take any value between two others."""
    return [draw for draw in context.made if is_continuous(draw.distribution)]
