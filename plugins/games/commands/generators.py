"""The generators that whoever has none of their own draws from: whether an environment does."""

from __future__ import annotations

import pickle
import random
from typing import Any

import numpy
import torch

# No environment seeds by it.
UNUSUAL = 1_584_923_071


class GlobalGenerators:
    """Inside the block torch's, NumPy's and Python's own stand where nothing else puts them; then again as before."""

    def __enter__(self) -> GlobalGenerators:
        self.before = torch.get_rng_state(), numpy.random.get_state(), random.getstate()
        torch.default_generator.manual_seed(UNUSUAL)
        numpy.random.seed(UNUSUAL)
        random.seed(UNUSUAL)
        self.placed = states()
        return self

    def touched(self) -> list[str]:
        """Whose generator was drawn from or seeded since then."""
        return [name for name, state in states().items() if state != self.placed[name]]

    def __exit__(self, *error: Any) -> None:
        torch.set_rng_state(self.before[0])
        numpy.random.set_state(self.before[1])
        random.setstate(self.before[2])


def states() -> dict[str, bytes]:
    own = {"numpy": numpy.random.get_state(), "random": random.getstate()}
    pickled = {name: pickle.dumps(state) for name, state in own.items()}
    return {"torch": torch.get_rng_state().numpy().tobytes(), **pickled}
