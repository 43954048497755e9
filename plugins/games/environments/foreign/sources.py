"""Where a foreign environment comes from, whatever it was given as: how to make one of it, and a vector of its own."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import VectorEnv

from framework.errors import UserError
from plugins.games.environments.arguments import parameters
from plugins.games.environments.foreign.returned import AsDocumented

EXPECTED = (
    "expected a name such as CartPole-v1 or module:name; in Python also an environment, a function or class that makes "
    "one, or one that makes a vector of num_envs"
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where an environment comes from.

    Attributes:
        make: makes one, from the environment's arguments and `render_mode`; None: only vectors can be made.
        constructor: what takes the arguments of one.
        make_vector: makes a vector of its own class, from the arguments and `num_envs`; None: it has none.
        time_limit: steps of an episode, where they are declared.
        registered: it is gymnasium's, which has its own way to set a time limit.
    """

    make: Callable[..., Any] | None = None
    constructor: Callable[..., Any]
    make_vector: Callable[..., Any] | None = None
    time_limit: int | None = None
    registered: bool = False


def source_of(found: Any, name: str) -> Source:
    """Where an environment comes from.

    Args:
        found: what `naming` found, or an object from Python.
        name: what it is called in messages.

    Raises:
        UserError: it is none of those.
    """
    if isinstance(found, EnvSpec):
        return of_specification(found)
    if isinstance(found, VectorEnv):
        raise UserError(
            f"environment {name} is a vector of {found.num_envs}: training and evaluation need several; give its class "
            "or a function of num_envs"
        )
    if isinstance(found, gymnasium.Env):
        spec = found.spec
        return Source(
            make=partial(copied, found, name),
            constructor=no_arguments,
            time_limit=None if spec is None else spec.max_episode_steps,
        )
    if not callable(found):
        raise UserError(f"task.environment = {found!r}: {EXPECTED}")
    if (inspect.isclass(found) and issubclass(found, VectorEnv)) or "num_envs" in parameters(found):
        return Source(constructor=found, make_vector=found)
    return Source(make=found, constructor=found)


def of_specification(spec: EnvSpec) -> Source:
    """The environment of gymnasium's registry."""

    def creator(entry_point: Any) -> Callable[..., Any]:
        # What is wrong, a missing package say, is reported by `gymnasium.make`, in its own words.
        try:
            return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
        except Exception:
            return partial(gymnasium.make, spec)

    single = creator(spec.entry_point or spec.vector_entry_point)
    vector = None
    if spec.vector_entry_point is not None and not spec.additional_wrappers:
        vector = partial(creator(spec.vector_entry_point), **spec.kwargs)
    return Source(
        make=None
        if spec.entry_point is None
        else partial(gymnasium.make, documented(spec, single)),
        constructor=single,
        make_vector=vector,
        time_limit=spec.max_episode_steps,
        registered=True,
    )


def documented(spec: EnvSpec, creator: Callable[..., Any]) -> EnvSpec:
    """The specification of the same environment, held to what gymnasium documents below its wrappers."""
    if isinstance(creator, partial):
        return spec
    held = copy.copy(spec)
    held.entry_point = Documented(creator, spec.id)
    return held


class Documented:
    """Makes an environment that is held to what gymnasium documents; in place of the environment's class."""

    def __init__(self, creator: Callable[..., Any], name: str) -> None:
        self.creator, self.name = creator, name
        # In which ways it can be rendered is asked of the class.
        if hasattr(creator, "metadata"):
            self.metadata = creator.metadata

    def __call__(self, **arguments: Any) -> AsDocumented:
        return AsDocumented(self.creator(**arguments), self.name)


def no_arguments() -> None:
    """The constructor of an object, which has been constructed."""


def copied(environment: Any, name: str, render_mode: str | None = None) -> Any:
    """A copy of an environment that is shown as that one is.

    Raises:
        UserError: it cannot be copied.
    """
    if render_mode not in (None, environment.render_mode):
        raise UserError(f"environment {name} was made with render_mode={environment.render_mode!r}")
    # A foreign class may hold anything.
    try:
        return copy.deepcopy(environment)
    except Exception as error:
        raise UserError(
            f"environment {name} cannot be copied ({type(error).__name__}); give a function that makes one: "
            "environment=lambda: MyEnv()"
        ) from error
