"""Gymnasium's games in a checkpoint: a cart-pole's arrays, or how to play the episode under way once more.

No environment can be asked for its state in general. One that is deterministic can be brought back: from its
generator's state before the episode's reset, or that reset's seed, and the actions since. Whether it is gets checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, cast

import gymnasium
import numpy
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import VectorEnv

# Steps of an episode that are remembered: a game without an end must not fill the memory.
MAX_STEPS = 100_000
# All that changes in a vector of cart-poles, besides its generator.
CART_POLE = ("state", "steps", "prev_done")


class NotRepeatable(Exception):
    """Games that do not come back as they were; the message says why."""


class Repeatable(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Remembers how the episode under way began and what was done in it, so that it can be played again.

    Attributes:
        beginning: the seed of the reset, or the generator's state before it.
        given: a record that `repeat` is to follow.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.beginning: dict[str, Any] = {}
        self.actions: list[Any] = []
        self.rewards: list[Any] = []
        self.latest: tuple[Any, Any, bool, bool, dict[str, Any]] = (None, 0.0, False, False, {})
        self.repeated = False
        self.given: dict[str, Any] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self.beginning = {"generator": self.generator_state()} if seed is None else {"seed": seed}
        self.actions, self.rewards, self.repeated = [], [], False
        observation, info = self.env.reset(seed=seed, options=options)
        self.latest = (observation, 0.0, False, False, {})
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if self.repeated:
            # The vector takes note of where the game stands.
            self.repeated = False
            return self.latest
        self.latest = outcome = self.env.step(action)
        if len(self.actions) <= MAX_STEPS:
            self.actions.append(action)
            self.rewards.append(outcome[1])
        return outcome

    def record(self) -> dict[str, Any] | None:
        """What `repeat` needs; None for an episode that is too long or whose generator is none of PCG64's."""
        if len(self.actions) > MAX_STEPS or self.beginning.get("generator", 0) is None:
            return None
        return {
            **self.beginning,
            "actions": numpy.array(self.actions),
            "fingerprint": self.fingerprint(),
        }

    def repeat(self) -> str:
        """Play the given record again; the vector's next step returns where it led. Returns what is wrong, if any."""
        record, self.given = self.given, None
        assert record is not None
        # A foreign environment may raise anything, and an exception would end its process.
        try:
            if "seed" not in record:
                generator = self.unwrapped.np_random
                generator.bit_generator.state = record["generator"]
            self.reset(seed=record.get("seed"))
            for action in record["actions"]:
                self.step(action)
        except Exception as error:
            return f"{type(error).__name__}: {error}".partition("\n")[0]
        self.repeated = True
        same = self.fingerprint() == record["fingerprint"]
        return "" if same else "the same seed and actions lead elsewhere"

    def fingerprint(self) -> str:
        """Of the latest observation, of how the episode stands, of all rewards and of the generator."""
        observation, _, terminated, truncated, _ = self.latest
        digest = hashlib.blake2b(digest_size=16)
        for part in (*parts(observation), numpy.asarray(self.rewards, dtype=numpy.float64)):
            digest.update(numpy.asarray(part).tobytes())
        digest.update(f"{bool(terminated)} {bool(truncated)} {self.generator_state()}".encode())
        return digest.hexdigest()

    def generator_state(self) -> dict[str, Any] | None:
        generator = getattr(self.unwrapped, "np_random", None)
        if not isinstance(generator, numpy.random.Generator):
            return None
        state = cast(dict[str, Any], generator.bit_generator.state)
        return state if state["bit_generator"] == "PCG64" else None


def parts(observation: Any) -> Iterator[Any]:
    """The arrays of an observation of any structure, in a fixed order."""
    if isinstance(observation, Mapping):
        for name in sorted(observation):
            yield from parts(observation[name])
    elif isinstance(observation, tuple):
        for part in observation:
            yield from parts(part)
    else:
        yield observation


def games_as_they_stand(vector: VectorEnv[Any, Any, Any]) -> dict[str, Any] | None:
    """All games of a vector, tensors and plain Python; None where its class cannot be saved."""
    if type(vector) is CartPoleVectorEnv:
        # Copies: the vector goes on in its own arrays.
        arrays = {name: torch.tensor(getattr(vector, name)) for name in CART_POLE}
        return {**arrays, "generator": vector.np_random.bit_generator.state}
    if not is_repeatable(vector):
        return None
    records = cast(Any, vector).call("record")
    if None in records:
        return None
    for record in records:
        record["actions"] = torch.from_numpy(record["actions"])
    return {"games": list(records)}


def bring_back(vector: VectorEnv[Any, Any, Any], saved: Mapping[str, Any]) -> None:
    """Let every game stand where `games_as_they_stand` found it.

    Raises:
        NotRepeatable: a game does not come back as it was, or these are other games.
    """
    if type(vector) is CartPoleVectorEnv:
        if "generator" not in saved:
            raise NotRepeatable("the checkpoint is of another version of gymnasium")
        vector.reset(seed=0)
        for name in CART_POLE:
            own, value = getattr(vector, name), saved[name].cpu().numpy()
            if own.shape != value.shape:
                raise ValueError(f"'{name}' is {list(value.shape)}, expected {list(own.shape)}")
            setattr(vector, name, value.copy())
        vector.np_random.bit_generator.state = saved["generator"]
        return
    records = saved.get("games", [])
    if not is_repeatable(vector) or len(records) != vector.num_envs:
        raise NotRepeatable("the checkpoint is of other games")
    repeatable = cast(Any, vector)
    # Nothing may be left of what the vector has played before.
    vector.reset(seed=0)
    given = [{**record, "actions": record["actions"].cpu().numpy()} for record in records]
    repeatable.set_attr("given", given)
    for i, wrong in enumerate(repeatable.call("repeat")):
        if wrong:
            raise NotRepeatable(f"game {i}: {wrong}")
    # The actions do not count: each game returns where it stands, and the vector knows which ones have ended.
    vector.step(vector.action_space.sample())


def is_repeatable(vector: VectorEnv[Any, Any, Any]) -> bool:
    """Whether each game of a vector is a `Repeatable`."""
    wrappers = (vector.spec.kwargs.get("wrappers") or ()) if vector.spec is not None else ()
    return Repeatable in wrappers
