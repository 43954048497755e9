"""The README's pictures, reduced in size, from the media of two runs.

python -m plugins.faces.pictures RECOGNITION_RUN FACES_RUN
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent / "pictures"
COLOURS = 256


def small(source: Path, name: str, box: tuple[int, int, int, int] | None = None) -> None:
    """Store a picture, or a part of it, with few colours."""
    with Image.open(source) as opened:
        picture = opened.convert("RGB").crop(box) if box else opened.convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(HERE / name, optimize=True)


def main(recognition: Path, faces: Path) -> None:
    """People, pairs and curves of recognition; scenes of the joint network."""
    HERE.mkdir(exist_ok=True)
    small(recognition / "media" / "learned.png", "people.png", (0, 0, 500, 300))
    small(recognition / "media" / "pairs.png", "pairs.png")
    small(recognition / "media" / "roc.png", "roc.png")
    small(faces / "media" / "scenes.png", "scenes.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
