"""What the check of a program's first run says of each fault, and that the gradient is biased by it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from framework.capabilities import alternatives
from framework.errors import ProgramError
from framework.lint.calls import Call
from framework.lint.context import WatchedContext
from framework.lint.findings import Findings
from framework.recording.trace import Draw

# Lines and draws that a message names.
LINES, NAMES = 8, 3


class Reports:
    """Faults that are reported, not refused, in the words that a user reads.

    Attributes:
        any: whether there was one.
    """

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.any = False

    def jump_in_draws(self, call: Call, draws: list[Draw]) -> None:
        names = listed({draw.name for draw in draws})
        self.note(
            draws,
            f"a cost jumps in draw {names} by {call}, and the gradient along a path leaves the jump out: it is biased; "
            f"{alternatives(black_box=True)}, or a branch of framework.relaxed",
        )

    def jump_in_parameter(self, call: Call) -> None:
        self.findings.jumps_in_a_parameter = True
        self.note(
            [],
            f"a cost jumps by {call}, where a value that depends on a parameter meets a random one, and the program's "
            "derivative leaves the jump out: the gradient is biased; draw the random value from a distribution that "
            "has the parameter (context.sample), use a branch of framework.relaxed, or choose one of the "
            f"{alternatives(what='need only its values', values_only=True)}",
        )

    def straight_through(self, call: Call) -> None:
        self.findings.jumps_in_a_parameter = True
        self.note(
            [],
            f"{call} with hard=True returns a choice and has the gradient of its relaxation: the gradient is biased; "
            "make the choice by context.sample from a OneHotCategorical, which every estimator of discrete draws "
            "serves, straight_through_gumbel among them",
        )

    def lost_number(self, call: Call) -> None:
        self.findings.jumps_in_a_parameter = True
        self.note(
            [],
            f"a cost depends on a parameter by no gradient, which is cut by {call}: the gradient is biased; keep it a "
            "tensor, write .detach() where it is meant as a constant, or choose one of the "
            f"{alternatives(what='need only its values', values_only=True)}",
        )

    def mixed_samples(self, context: WatchedContext, draws: list[Draw], what: str) -> None:
        calls = " or ".join(str(call) for call in list(context.watch.mixing)[:LINES])
        names = " and ".join(sorted({f"'{draw.name}'" for draw in draws}))
        self.note(
            draws,
            f"{what} of one sample depends on the draws of others, by {calls}: a sample's draws {names} are charged "
            "with its own costs only, and the gradient is biased; compute each sample's cost from its own draws, of "
            "shape [samples, *batch, ...]",
        )

    def shared_way(self, context: WatchedContext, draws: list[Draw]) -> None:
        calls = " or ".join(str(call) for call in list(context.watch.mixing)[:LINES])
        self.note(
            draws,
            f"a sample costs something else when it is run alone, by {calls}: the program goes one way for several "
            "samples at once, its objective depends on how many they are, and the gradient is biased; choose each "
            "sample's way (torch.where), or declare the program with one_sample_at_a_time=True",
        )

    def mixed_data(self, context: WatchedContext, draws: list[Draw], what: str) -> None:
        calls = " or ".join(str(call) for call in list(context.watch.mixing_data)[:LINES])
        names = listed({draw.name for draw in draws})
        depends = f"{what} of one datum depends on the draws of others, by {calls}"
        remedy = (
            "compute each datum's cost from its own draws, or declare no batch axes (batch_axes = 0, costs being means "
            "over data), so that every draw is charged with all costs"
        )
        if any(draw.rule.name == "exact" for draw in draws):
            raise ProgramError(
                f"{depends}: exact sums over draws {names} of each datum by themselves; {remedy}"
            )
        self.note(
            draws,
            f"{depends}: a datum's draws {names} are charged with its own costs only, and the gradient is biased; "
            f"{remedy}",
        )

    def charged_penalty(self, draw: Draw, penalty: str) -> None:
        self.note(
            [draw],
            f"penalty '{penalty}' depends on draw '{draw.name}', which is charged with costs and not with penalties: "
            "the gradient leaves out how the draw changes it, and is biased; charge it by context.cost",
        )

    def outside_noise(self, call: Call) -> None:
        self.findings.messages.append(
            f"a cost may jump by {call}, where a parameter meets random numbers that are not torch's and cannot be "
            "moved to see: where it does, the program's derivative leaves the jump out and the gradient is biased; "
            "draw them by torch (torch.rand), or from a distribution that has the parameter (context.sample)"
        )

    def note(self, draws: Iterable[Draw], message: str) -> None:
        """Note that the gradient by the rules of these draws is biased."""
        self.any = True
        self.findings.biased |= {draw.rule.name for draw in draws}
        if message not in self.findings.messages:
            self.findings.messages.append(message)


def listed(names: Collection[str]) -> str:
    """A few names, and how many more there are."""
    shown = " and ".join(f"'{name}'" for name in sorted(names)[:NAMES])
    return shown if len(names) <= NAMES else f"{shown} and {len(names) - NAMES} others"
