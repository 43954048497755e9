"""The Python interface of diffvg (Li et al. 2020) on this plugin's rasteriser, which needs no compiler to install.

    import plugins.sketching.pydiffvg as pydiffvg

A scene is a list of shapes and a list of groups that paint them. What differs from diffvg is listed in the plugin's
page `pydiffvg/README.md`; what is not there is refused in one line.
"""

from __future__ import annotations

from typing import NoReturn

from plugins.sketching.pydiffvg.device import (
    get_device,
    get_use_gpu,
    set_device,
    set_print_timing,
    set_use_gpu,
)
from plugins.sketching.pydiffvg.images import imread, imwrite
from plugins.sketching.pydiffvg.reading import from_svg_path, svg_to_scene
from plugins.sketching.pydiffvg.rendering import (
    FilterType,
    OutputType,
    PixelFilter,
    RenderFunction,
)
from plugins.sketching.pydiffvg.shapes import (
    Circle,
    Ellipse,
    LinearGradient,
    Path,
    Polygon,
    RadialGradient,
    Rect,
    Shape,
    ShapeGroup,
)
from plugins.sketching.pydiffvg.writing import save_svg

__all__ = [
    "Circle",
    "Ellipse",
    "FilterType",
    "LinearGradient",
    "OutputType",
    "Path",
    "PixelFilter",
    "Polygon",
    "RadialGradient",
    "Rect",
    "RenderFunction",
    "Shape",
    "ShapeGroup",
    "from_svg_path",
    "get_device",
    "get_use_gpu",
    "imread",
    "imwrite",
    "save_svg",
    "set_device",
    "set_print_timing",
    "set_use_gpu",
    "svg_to_scene",
]

# What diffvg has besides, and what to use instead.
ELSEWHERE = {
    "OptimizableSvg": "svg_to_scene gives shapes whose tensors can be learned",
    "SVG": "svg_to_scene gives shapes whose tensors can be learned",
    "SvgOptimizationSettings": "give torch's optimisers the shapes' tensors",
}


def __getattr__(name: str) -> NoReturn:
    instead = f"; {ELSEWHERE[name]}" if name in ELSEWHERE else ""
    raise AttributeError(f"plugins.sketching.pydiffvg has no '{name}'{instead}")
