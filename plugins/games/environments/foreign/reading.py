"""Which parts of a foreign observation an agent gets: nested ones by one name each, unreadable ones left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from torch import nn

READABLE = (Box, Discrete, MultiDiscrete, MultiBinary)
Way = tuple[Any, ...]


class Reading:
    """From observations of a space, of one game or of N, to what an agent gets.

    Attributes:
        space: of what it gets: the space itself, or a Dict of its readable parts: `position`, `arms/0`.
        left_out: the names of the others.
    """

    def __init__(self, space: Space[Any]) -> None:
        self.space = space
        self.left_out: list[str] = []
        self.ways: dict[str, Way] = {}
        if not isinstance(space, Dict | Tuple):
            return
        parts = dict(leaves(space))
        readable = {way: part for way, part in parts.items() if isinstance(part, READABLE)}
        if not readable:
            return
        self.left_out = [named(way) for way in parts if way not in readable]
        for way in readable:
            self.ways[self.free_name(way)] = way
        as_it_is = isinstance(space, Dict) and list(self.ways.items()) == [
            (name, (name,)) for name in space.spaces
        ]
        if not as_it_is:
            self.space = Dict({name: readable[way] for name, way in self.ways.items()})

    def free_name(self, way: Way) -> str:
        """A part's name that no other has, and that a module can have."""
        name = named(way)
        while not name or name in self.ways or hasattr(nn.ModuleDict, name) or name == "training":
            name += "_"
        return name

    def __call__(self, observation: Any) -> Any:
        if not self.ways:
            return observation
        return {name: followed(observation, way) for name, way in self.ways.items()}


def leaves(space: Space[Any], way: Way = ()) -> Iterator[tuple[Way, Space[Any]]]:
    """The parts of nested Dicts and Tuples, and the way to each."""
    if isinstance(space, Dict | Tuple):
        parts = space.spaces.items() if isinstance(space, Dict) else enumerate(space.spaces)
        for key, part in parts:
            yield from leaves(part, (*way, key))
    else:
        yield way, space


def named(way: Way) -> str:
    """A way as a name; modules' names have no dots."""
    return "/".join(map(str, way)).replace(".", "_")


def followed(observation: Mapping[str, Any] | tuple[Any, ...], way: Way) -> Any:
    for key in way:
        observation = observation[key]
    return observation
