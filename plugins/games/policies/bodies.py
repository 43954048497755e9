"""Bodies: from observations to features, for numbers, boards, camera images and several of these by name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from torch import Tensor, nn

from framework.errors import UserError
from plugins.games.environments.games import Observation
from plugins.games.policies.egocentric import Egocentric
from plugins.games.policies.layout import can_be_picture, is_picture, layout_of, scale_of

# The entry of a dict observation that says which actions are allowed.
MASK = "action_mask"
SERVED = "Box, Discrete, MultiDiscrete and MultiBinary"
# Values of whole numbers that each get a weight of their own.
MOST_VALUES = 100_000
BodyKind = Literal["auto", "multilayer", "board", "egocentric", "nature", "impala", "units"]


Activation = Literal["tanh", "relu"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


class Body(nn.Module):
    """From one observation `[*batch, ...]` to features `[*batch, width]`."""

    width: int


class Multilayer(Body):
    """Linear layers over flat numbers.

    Args:
        hidden: their widths; none: the numbers themselves.
        observation_indices: the numbers that are used; None: all.
    """

    def __init__(
        self,
        space: Box,
        hidden: Sequence[int],
        observation_indices: Sequence[int] | None = None,
        activation: Activation = "tanh",
    ) -> None:
        super().__init__()
        self.axes = len(space.shape)
        self.scale = scale_of(space)
        self.observation_indices = (
            None if observation_indices is None else list(observation_indices)
        )
        count = math.prod(space.shape)
        if self.observation_indices is not None and not all(
            0 <= i < count for i in self.observation_indices
        ):
            raise UserError(
                f"task.observation_indices = {self.observation_indices}: the observation's numbers are 0 to {count - 1}"
            )
        widths = [
            count if self.observation_indices is None else len(self.observation_indices),
            *hidden,
        ]
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            layers += [
                initialised(nn.Linear(inputs, outputs), math.sqrt(2)),
                ACTIVATIONS[activation](),
            ]
        self.layers = nn.Sequential(*layers)
        self.width = widths[-1]

    def forward(self, observation: Tensor) -> Tensor:
        flat = observation.float()
        if self.scale != 1:
            flat = flat / self.scale
        if self.axes != 1:
            flat = flat.unsqueeze(-1) if self.axes == 0 else flat.flatten(-self.axes)
        if self.observation_indices is not None:
            flat = flat[..., self.observation_indices]
        return self.layers(flat)  # type: ignore[no-any-return]


class OneHot(Body):
    """A whole number as a vector of zeros and a one."""

    def __init__(self, space: Discrete, hidden: Sequence[int], activation: Activation) -> None:
        super().__init__()
        self.first, self.count = int(space.start), int(space.n)
        refuse_too_many(self.count, space)
        self.body = Multilayer(Box(0, 1, (self.count,)), hidden, None, activation)
        self.width = self.body.width

    def forward(self, observation: Tensor) -> Tensor:
        which = observation.long() - self.first
        return self.body(nn.functional.one_hot(which, self.count))  # type: ignore[no-any-return]


class OneHots(Body):
    """Several whole numbers, each as a vector of zeros and a one."""

    first: Tensor

    def __init__(self, space: MultiDiscrete, hidden: Sequence[int], activation: Activation) -> None:
        super().__init__()
        sizes = numpy.asarray(space.nvec).flatten()
        # Where each number's vector begins, less its lowest value.
        begins = sizes.cumsum() - sizes - numpy.asarray(space.start).flatten()
        self.register_buffer("first", torch.as_tensor(begins), persistent=False)
        self.axes, self.count = space.nvec.ndim, int(sizes.sum())
        refuse_too_many(self.count, space)
        self.body = Multilayer(Box(0, 1, (self.count,)), hidden, None, activation)
        self.width = self.body.width

    def forward(self, observation: Tensor) -> Tensor:
        which = observation.long().flatten(-self.axes) + self.first
        ones = torch.zeros(*which.shape[:-1], self.count, device=which.device)
        return self.body(ones.scatter_(-1, which, 1.0))  # type: ignore[no-any-return]


def refuse_too_many(count: int, space: Space[Any]) -> None:
    """Refuse what would need a layer of an input for each of too many values.

    Raises:
        UserError: names the space.
    """
    if count > MOST_VALUES:
        raise UserError(
            f"no policy reads the observations {space}: {count:,} values, and {MOST_VALUES:,} at most can have "
            "weights of their own; declare numbers (Box), or several smaller ones (MultiDiscrete)"
        )


class Picture(Body):
    """What the convolutional bodies share: leading axes, channels first, bytes from 0 to 1."""

    def __init__(self, space: Box, width: int) -> None:
        super().__init__()
        self.layout = layout_of(space)
        self.scale = scale_of(space)
        shape = self.layout.shape
        # Channels last is faster.
        self.layers = self.convolutions(shape[0]).to(memory_format=torch.channels_last)
        with torch.no_grad():
            try:
                count = self.layers(torch.zeros(1, *shape)).shape[1]
            except RuntimeError:
                raise UserError(
                    f"task.encoder: images of {list(space.shape)} are too small for it; choices: board, multilayer"
                ) from None
        self.last = nn.Sequential(initialised(nn.Linear(count, width), math.sqrt(2)), nn.ReLU())
        self.width = width

    def convolutions(self, channels: int) -> nn.Module:
        """The layers from `[B, channels, H, W]` to `[B, F]`."""
        raise NotImplementedError

    def forward(self, observation: Tensor) -> Tensor:
        lead = observation.shape[: observation.dim() - self.layout.axes]
        images = self.channels_first(observation, len(lead))
        scaled = self.scale != 1
        images = images.to(torch.float32, memory_format=torch.channels_last, copy=scaled)
        if scaled:
            # In place: they are large.
            images.div_(self.scale)
        return self.last(self.layers(images)).reshape(*lead, self.width)  # type: ignore[no-any-return]

    def channels_first(self, observation: Tensor, leading: int) -> Tensor:
        """Images `[B, channels, H, W]` of observations with that many leading axes."""
        images = observation.flatten(0, leading - 1) if leading else observation.unsqueeze(0)
        if self.layout.channels_last:
            images = images.movedim(-1, -3)
        return (
            images.flatten(1, 2)
            if self.layout.axes == 4
            else images.reshape(-1, *self.layout.shape)
        )


class Board(Picture):
    """Two small convolutions for boards of about 10 x 10."""

    def convolutions(self, channels: int) -> nn.Module:
        return nn.Sequential(
            convolution(channels, 16, 3, padding=1),
            nn.ReLU(),
            convolution(16, 32, 3),
            nn.ReLU(),
            nn.Flatten(),
        )


class CentredBoard(Picture):
    """One layer over the board as its player sees it; see `egocentric`."""

    def convolutions(self, channels: int) -> nn.Module:
        return nn.Sequential(Egocentric(), nn.Flatten())


class Nature(Picture):
    """The three convolutions of deep Q-learning (Mnih et al. 2015), for images of about 84 x 84."""

    def convolutions(self, channels: int) -> nn.Module:
        return nn.Sequential(
            convolution(channels, 32, 8, stride=4),
            nn.ReLU(),
            convolution(32, 64, 4, stride=2),
            nn.ReLU(),
            convolution(64, 64, 3),
            nn.ReLU(),
            nn.Flatten(),
        )


class Impala(Picture):
    """Fifteen convolutions with residual blocks (Espeholt et al. 2018)."""

    def convolutions(self, channels: int) -> nn.Module:
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise([channels, 16, 32, 32]):
            layers += [
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.MaxPool2d(3, 2, 1),
                Residual(outputs),
                Residual(outputs),
            ]
        return nn.Sequential(*layers, nn.ReLU(), nn.Flatten())


class Residual(nn.Module):
    """x + two convolutions of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return images + self.layers(images)  # type: ignore[no-any-return]


class Named(Body):
    """Several observations by name: each has a body of its own, their features are joined."""

    def __init__(self, bodies: Mapping[str, Body]) -> None:
        super().__init__()
        self.bodies = nn.ModuleDict(dict(bodies))
        self.width = sum(body.width for body in bodies.values())

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([body(observation[name]) for name, body in self.bodies.items()], -1)


def make_body(
    space: Space[Any],
    kind: BodyKind,
    hidden: Sequence[int],
    observation_indices: Sequence[int] | None = None,
    activation: Activation = "tanh",
) -> Body:
    """The body that serves an observation space; `auto` goes by its shape.

    Raises:
        UserError: a space that none serves.
    """
    refuse_unused(space, kind, observation_indices)
    if isinstance(space, Dict):
        parts = {name: part for name, part in space.spaces.items() if name != MASK}
        if not parts or any(isinstance(part, Dict) for part in parts.values()):
            raise UserError(
                f"no policy reads the observations {space}; served are Dicts of {SERVED}, one at least"
                f" besides '{MASK}'"
            )
        kinds = {name: kind if has_images(part, kind) else "auto" for name, part in parts.items()}
        return Named(
            {
                name: make_body(part, kinds[name], hidden, None, activation)
                for name, part in parts.items()
            }
        )
    if isinstance(space, Discrete):
        return OneHot(space, hidden, activation)
    if isinstance(space, MultiDiscrete):
        return OneHots(space, hidden, activation)
    if isinstance(space, MultiBinary):
        return Multilayer(Box(0, 1, space.shape), hidden, None, activation)
    if not isinstance(space, Box):
        raise UserError(
            f"no policy reads the observations {space}; served are {SERVED}, and Dicts of these"
        )
    if kind == "auto" and is_picture(space):
        kind = picture_kind(layout_of(space).shape)
    if kind in ("auto", "multilayer"):
        return Multilayer(space, hidden, observation_indices, activation)
    pictures = {"board": Board, "egocentric": CentredBoard, "nature": Nature, "impala": Impala}
    return pictures[kind](space, hidden[-1])


def picture_kind(shape: tuple[int, int, int]) -> BodyKind:
    """The body for a picture `[channels, H, W]`: boards are small, and the Nature network needs 36 pixels each way."""
    if max(shape[1:]) <= 24:
        return "board"
    return "nature" if min(shape[1:]) >= 36 else "impala"


def refuse_unused(
    space: Space[Any], kind: BodyKind, observation_indices: Sequence[int] | None
) -> None:
    """Refuse options that would do nothing for these observations."""
    flat = isinstance(space, Box) and (kind == "multilayer" or not is_picture(space))
    if observation_indices is not None and not flat:
        raise UserError(
            f"task.observation_indices = {list(observation_indices)}: only numbers of a single Box can be selected,"
            f" not {space}"
        )
    if kind not in ("auto", "multilayer") and not has_images(space, kind):
        raise UserError(
            f"task.encoder = '{kind}': it needs images of two to four axes, not {space}; choices: auto, multilayer"
        )


def has_images(space: Space[Any], kind: BodyKind) -> bool:
    """Whether anything in a space is a picture, or can be one for a body that was asked for."""
    if isinstance(space, Dict):
        return any(has_images(part, kind) for part in space.spaces.values())
    if isinstance(space, MultiDiscrete | MultiBinary):
        return False
    return is_picture(space) or (kind not in ("auto", "multilayer") and can_be_picture(space))


def convolution(
    inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int = 0
) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, size, stride, padding)
    nn.init.orthogonal_(layer.weight, math.sqrt(2))
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def initialised(layer: nn.Linear, gain: float) -> nn.Linear:
    """Orthogonal weights and zero bias, as usual for policies; a small gain makes them nearly uniform at first."""
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def action_mask(observation: Observation) -> Tensor | None:
    """Which actions are allowed, where the observation says so."""
    return observation.get(MASK) if isinstance(observation, Mapping) else None
