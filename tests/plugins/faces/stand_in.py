"""A folder in the form of the classic set of 40 people: s1..s40 with ten grey PGM pictures of 92 x 112 each.

The photographs themselves may not be here, so synthetic people stand in for them: other ones than those of a training,
without colour. As in such sets, a person's ten pictures are alike: frontal, in one light, with the same clothes, and
mostly with or mostly without glasses. So the pixels alone verify these people about as well as real ones (an equal
error rate of .10; on photographs .095), and a network has to be better than that; where pose and light vary as in the
training, pixels reach .23, and whatever learns looks good.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from plugins.faces.synthetic.people import circumstances, traits
from plugins.faces.synthetic.rendering import render

FIRST = 5_000_000
# How much of the training's variation is left in a person's pictures: of pose, and of light.
POSE, LIGHT = 0.25, 0.2
# The part of a person's pictures that is like the first one with regard to glasses.
FAITHFUL = 0.85


def write_stand_in(root: Path, people: int = 40, pictures: int = 10) -> Path:
    """Write the folder and return it."""
    for number in range(people):
        grey = pictures_of(number, pictures)
        folder = root / f"s{number + 1}"
        folder.mkdir(parents=True)
        for picture in range(pictures):
            Image.fromarray(grey[picture].numpy()).save(folder / f"{picture + 1}.pgm")
    return root


def pictures_of(number: int, pictures: int) -> Tensor:
    """Grey pictures `[pictures, 112, 92]` uint8 of a person."""
    who = [FIRST + number] * pictures
    look = traits(9, who) | circumstances(9, who, range(pictures))
    random = torch.Generator().manual_seed(number)
    faithful = torch.rand(pictures, generator=random) < FAITHFUL
    for name in ("red", "green", "blue"):
        wall = torch.full((pictures,), 0.25 + 0.3 * (number % 2))
        look[f"background_{name}"] = look[f"behind_{name}"] = wall
        look[f"clothes_{name}"] = look[f"clothes_{name}"][:1].expand(pictures)
    for name in ("yaw", "pitch", "roll"):
        look[name] = POSE * look[name]
    for name in ("light_x", "light_y", "brightness", "gamma"):
        look[name] = torch.lerp(look[name].mean(), look[name], LIGHT)
    look["glasses"] = torch.where(faithful, look["glasses"][:1], look["glasses"])
    look["occlusion"] = look["hat"] = torch.zeros(pictures)
    look["noise"] = 0.3 * look["noise"]
    middle = torch.tensor([46.0, 58.0]) + 2.5 * torch.randn(pictures, 2, generator=random)
    scale = 46 * (1 + 0.05 * torch.randn(pictures, generator=random))
    rendered = render(look, 112, middle + torch.tensor([10.0, 0.0]), scale)
    return (rendered.colours[:, :, :, 10:102].mean(1) * 255).to(torch.uint8)
