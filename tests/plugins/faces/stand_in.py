"""A folder in the form of the classic set of 40 people: s1..s40 with ten grey PGM pictures of 92 x 112 each.

The photographs themselves may not be here, so synthetic people stand in for them: other ones than those of a
training, without colour, in flat light from a few directions, with slight rotations and few occlusions.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from plugins.faces.synthetic.people import circumstances, traits
from plugins.faces.synthetic.rendering import render

FIRST = 5_000_000


def write_stand_in(root: Path, people: int = 40, pictures: int = 10) -> Path:
    """Write the folder and return it."""
    for number in range(people):
        who = [FIRST + number] * pictures
        look = traits(9, who) | circumstances(9, who, range(pictures))
        wall = torch.full((pictures,), 0.25 + 0.3 * (number % 2))
        for name in ("red", "green", "blue"):
            look[f"background_{name}"] = look[f"behind_{name}"] = wall
        look["yaw"], look["occlusion"] = 0.8 * look["yaw"], torch.zeros(pictures)
        look["hat"], look["noise"] = torch.zeros(pictures), 0.3 * look["noise"]
        random = torch.Generator().manual_seed(number)
        middle = torch.tensor([46.0, 58.0]) + 2.5 * torch.randn(pictures, 2, generator=random)
        scale = 46 * (1 + 0.05 * torch.randn(pictures, generator=random))
        rendered = render(look, 112, middle + torch.tensor([10.0, 0.0]), scale)
        grey = (rendered.colours[:, :, :, 10:102].mean(1) * 255).to(torch.uint8)
        folder = root / f"s{number + 1}"
        folder.mkdir(parents=True)
        for picture in range(pictures):
            Image.fromarray(grey[picture].numpy()).save(folder / f"{picture + 1}.pgm")
    return root
