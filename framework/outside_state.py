"""What a function changes outside a run of it: the random generators it holds and its models' running statistics."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import nn

from framework.parameters import unchanged_buffers

# How many steps of "is held by" are followed from a function.
DEPTH = 4
# Functions of these packages hold nothing of the user's.
LIBRARIES = ("torch", "framework", "numpy")


@dataclass(frozen=True)
class Stream:
    """A random generator: how to read, restore and seed it."""

    state: Callable[[], Any]
    restore: Callable[[Any], Any]
    seed: Callable[[int], Any]
    torchs: bool = False


class OutsideState:
    """The random generators and models that a function reaches, and the global ones of NumPy and Python.

    A function reaches what is in its closure, its defaults, the globals that it names and the attributes of the object
    whose method it is; functions among these are followed. Torch's default generators are not included: see
    `framework.randomness`.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        things = list(reached(function))
        self.models = [thing for thing in things if isinstance(thing, nn.Module)]
        self.streams = [stream for thing in things if (stream := stream_of(thing)) is not None]
        self.streams += [global_numpy(), global_python()]

    def states(self) -> bytes:
        """The states of all generators but torch's, to be compared."""
        return pickle.dumps([stream.state() for stream in self.streams if not stream.torchs])

    @contextmanager
    def kept(self, seed: int | None = None) -> Iterator[None]:
        """Leave everything as it was after the block, in which the generators begin at `seed`; None: where they are."""
        states = [stream.state() for stream in self.streams]
        with ExitStack() as models:
            for model in self.models:
                models.enter_context(unchanged_buffers(model))
            try:
                for stream in self.streams if seed is not None else ():
                    stream.seed(seed)  # type: ignore[arg-type]
                yield
            finally:
                for stream, state in zip(self.streams, states, strict=True):
                    stream.restore(state)


def reached(function: Any) -> Iterator[Any]:
    """Everything that a function reaches, each once."""
    found: set[int] = set()
    waiting = [(function, 0)]
    while waiting:
        thing, depth = waiting.pop()
        if id(thing) not in found and depth <= DEPTH:
            found.add(id(thing))
            yield thing
            waiting += [(other, depth + 1) for other in held_by(thing)]


def held_by(thing: Any) -> Iterator[Any]:
    """What a function holds itself; nothing for other things."""
    if isinstance(thing, MethodType):
        yield thing.__func__
        yield from vars(thing.__self__).values() if hasattr(thing.__self__, "__dict__") else ()
    elif isinstance(thing, partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
    # Code that was run by `exec` may say no module.
    elif (
        isinstance(thing, FunctionType)
        and (thing.__module__ or "").partition(".")[0] not in LIBRARIES
    ):
        yield from (*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values())
        for name in names_in(thing.__code__):
            if name in thing.__globals__:
                yield thing.__globals__[name]
    if isinstance(thing, FunctionType):
        for cell in thing.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:
                # A variable that has no value yet.
                continue


def names_in(code: CodeType) -> set[str]:
    """The names that a function's code, and that of functions within it, looks up."""
    inner = (names_in(const) for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*inner)


def stream_of(thing: Any) -> Stream | None:
    """How to keep a random generator; None for other things."""
    if isinstance(thing, torch.Generator):
        return Stream(thing.get_state, thing.set_state, thing.manual_seed, torchs=True)
    if isinstance(thing, random.Random):
        return Stream(thing.getstate, thing.setstate, thing.seed)
    if isinstance(thing, np.random.RandomState):
        return Stream(thing.get_state, thing.set_state, lambda seed: thing.seed(seed % 2**32))
    if isinstance(thing, np.random.Generator):
        source = thing.bit_generator
        return Stream(
            lambda: source.state,
            lambda state: setattr(source, "state", state),
            lambda seed: setattr(source, "state", type(source)(seed).state),
        )
    return None


def global_numpy() -> Stream:
    return Stream(
        np.random.get_state, np.random.set_state, lambda seed: np.random.seed(seed % 2**32)
    )


def global_python() -> Stream:
    return Stream(random.getstate, random.setstate, random.seed)
