"""One game that fails does not end the others: its episode is cut off, and it alone begins again.

How often games may fail goes by a rate: what fails now and then is survived for as long as the run takes, what fails in
a tenth of all steps, or from the first step on, ends it at once.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
from numpy.typing import NDArray

from framework.errors import UserError
from plugins.games.environments.foreign.masks import MASK, lacks_mask

# What the vector's `info` says of a game that failed, and why.
FAILED = "failed"
# Failures in a row that are survived, and how much of one each sound step of a game makes good.
PATIENCE, RECOVERY = 10, 0.1
# After the first failures only each tenfold of them is reported.
REPORTED = 3


class Failures:
    """How often the games of an environment have failed, and whether that is too often.

    Attributes:
        count: so far.
        patience: failures that are still survived.
    """

    def __init__(self, environment: str) -> None:
        self.environment = environment
        self.count = 0
        self.patience = float(PATIENCE)

    def sound(self, valid: NDArray[Any]) -> None:
        """Count the steps of games that did not fail, `[N]`."""
        if self.patience < PATIENCE:
            self.patience = min(self.patience + RECOVERY * int(valid.sum()), PATIENCE)

    def add(self, reason: str, what: str) -> None:
        """Report a failure.

        Args:
            what: what is restarted.

        Raises:
            UserError: they have failed too often.
        """
        self.count += 1
        self.patience -= 1
        message = f"environment '{self.environment}' failed: {reason}"
        if self.patience < 0:
            raise UserError(f"{message}; that was failure number {self.count}")
        rare = self.count >= 10 and str(self.count).strip("0") == "1"
        if self.count <= REPORTED or rare:
            so_far = f" ({self.count:,} failures so far)" if rare else ""
            print(f"{message}; {what} restarted{so_far}", file=sys.stderr, flush=True)


class Guarded(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A game whose failures are truncations that `info` names; it is made again before its next episode.

    Its own `info`, which may hold anything, ends here, but for `passed`.

    Args:
        name: what it is called in messages.
        passed: the entry of `info` that is kept.

    Attributes:
        spoilt: why what it has just returned cannot be used: its next step cuts the episode off.
    """

    def __init__(self, make: Callable[[], gymnasium.Env[Any, Any]], name: str, passed: str) -> None:
        super().__init__(make())
        self.make, self.name, self.passed = make, name, passed
        self.lacks_mask = lacks_mask(self.env)
        self.spoilt = ""
        self.observation: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self.spoilt = ""
        failures: list[str] = []
        while True:
            # A foreign environment may raise anything.
            try:
                self.observation, _ = self.env.reset(seed=seed, options=options)
                break
            except UserError:
                raise
            except Exception as error:
                failures.append(reason(error))
                if len(failures) > PATIENCE:
                    raise
                self.remake()
                seed = None if seed is None else (seed + 1) % 2**31
        return self.observation, {FAILED: failures[0]} if failures else {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if self.spoilt:
            return self.observation, 0.0, False, True, {FAILED: self.spoilt}
        try:
            self.observation, *outcome, info = self.env.step(action)
        except UserError:
            raise
        except Exception as error:
            self.remake()
            return self.observation, 0.0, False, True, {FAILED: reason(error)}
        if self.lacks_mask and MASK in info:
            raise UserError(
                f"environment '{self.name}': info has '{MASK}' after a step and not after a reset; expected it in both"
            )
        kept = {self.passed: info[self.passed]} if self.passed in info else {}
        return self.observation, *outcome, kept

    def remake(self) -> None:
        with contextlib.suppress(Exception):
            self.env.close()
        self.env = self.make()


def reason(error: Exception) -> str:
    """An exception in one line, with its type where its words alone say little."""
    line = str(error).strip().partition("\n")[0]
    alone = line and not isinstance(error, LookupError | AssertionError | StopIteration)
    return line if alone else f"{type(error).__name__}: {line}".removesuffix(": ")
