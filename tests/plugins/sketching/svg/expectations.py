"""Writes what resvg shows of every file in files.py, which the tests compare with.

    python -m tests.plugins.sketching.svg.expectations

It needs the packages resvg-py and cairosvg, which nothing else here does: expected.png holds their answer. Files that
the two render differently by more than 2 % are printed, as they say little.
"""

from __future__ import annotations

import io
from importlib import import_module
from pathlib import Path

import numpy
from numpy.typing import NDArray
from PIL import Image

from tests.plugins.sketching.svg.files import FILES

# Pixels of a picture's side, and pictures in a row of the sheet.
SIDE, ACROSS = 64, 12
SHEET = Path(__file__).parent / "expected.png"


def expected() -> dict[str, NDArray[numpy.uint8]]:
    """The stored pictures `[SIDE, SIDE, 3]`, by name."""
    with Image.open(SHEET) as sheet:
        pixels = numpy.asarray(sheet.convert("RGB"))
    found = {}
    for number, name in enumerate(FILES):
        row, column = number // ACROSS * SIDE, number % ACROSS * SIDE
        found[name] = pixels[row : row + SIDE, column : column + SIDE]
    return found


def on_white(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png)).convert("RGBA").resize((SIDE, SIDE))
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture)
    return paper.convert("RGB")


def main() -> None:
    resvg, cairosvg = import_module("resvg_py"), import_module("cairosvg")
    sheet = Image.new("RGB", (ACROSS * SIDE, -(-len(FILES) // ACROSS) * SIDE), "white")
    for number, (name, text) in enumerate(FILES.items()):
        shown = resvg.svg_to_bytes(svg_string=text, width=SIDE, height=SIDE, dpi=96)
        first = on_white(bytes(shown))
        try:
            second = on_white(
                cairosvg.svg2png(text.encode(), output_width=SIDE, output_height=SIDE)
            )
        except ValueError as error:
            print(f"{name}: cairosvg fails ({error})")
            second = first
        apart = float(abs(numpy.asarray(first, float) - numpy.asarray(second, float)).mean() / 255)
        if apart > 0.02:
            print(f"{name}: resvg and cairosvg differ by {100 * apart:.1f} %")
        sheet.paste(first, (number % ACROSS * SIDE, number // ACROSS * SIDE))
    sheet.save(SHEET, optimize=True)
    print(f"{len(FILES)} files")


if __name__ == "__main__":
    main()
