"""Reading SVG: a document's shapes as marks in pixels, their styles, transforms, uses, clips and viewports resolved.

svgelements reads paths, shapes, transforms and lengths; which elements there are, and what they take over from one
another, is followed here. An element that cannot be read is left out with a line, and the rest is drawn.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy

from framework.errors import UserError
from plugins.sketching.svg.cascade import INHERITED, OWN, Cascade, fraction
from plugins.sketching.svg.document import bytes_of, local_name, tree
from plugins.sketching.svg.extents import box_of, extent_of, ring, sides
from plugins.sketching.svg.geometry import (
    IDENTITY,
    MAX_CURVES,
    SHAPES,
    TooMany,
    compose,
    contours_of,
    fitted,
    length,
    placed,
    stretch,
    transform,
    viewbox_of,
)
from plugins.sketching.svg.grammar import broken_off
from plugins.sketching.svg.paint import Gradients, href, referred, rgba
from plugins.sketching.svg.picture import Array, Clip, Contour, Mark, Paint, Picture, Rule
from plugins.sketching.svg.surroundings import LeftOut, Surroundings, dashes_of, measure_in

# Elements that hold others and show nothing else.
GROUPS = {"g", "a"}
# What a drawing of outlines and fills has no room for.
UNKNOWN = {"text", "image", "foreignObject", "video", "audio", "canvas", "iframe", "flowRoot"}
# Properties that are not followed, and their values that change nothing.
UNSEEN = {
    **{"mask": "none", "filter": "none"},
    **{"mix-blend-mode": "normal", "transform-origin": "0 0"},
}
DRAWN = {*GROUPS, *SHAPES, *UNKNOWN, "use", "svg", "switch"}
ASPECT = re.compile(r"(defer\s+)?(none|x(Min|Mid|Max)Y(Min|Mid|Max))(\s+(meet|slice))?")
# What a property may say; else it is as if it were not there.
WORDS = {
    "stroke-linecap": {"butt", "round", "square"},
    "stroke-linejoin": {"miter", "round", "bevel", "miter-clip", "arcs"},
    "fill-rule": {"nonzero", "evenodd", "clip"},
    "clip-rule": {"nonzero", "evenodd"},
}
# How deeply <use> and groups lie in one another, and how many elements are drawn by <use>.
MAX_NESTING = 128
MAX_USED = 50_000


def read(path: Path) -> Picture:
    """The marks of an SVG or SVGZ file.

    Raises:
        UserError: missing, not SVG, an entity, or beyond the limits.
    """
    data = bytes_of(path)
    try:
        return parse(data)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def parse(data: bytes) -> Picture:
    """`read`, from a file's bytes."""
    root = tree(data)
    if local_name(root) != "svg":
        raise UserError(f"the root is <{local_name(root)}>, expected <svg>")
    return Reader(root).picture()


class Reader:
    """A walk through one document."""

    def __init__(self, root: Element) -> None:
        self.root = root
        self.cascade = Cascade(root)
        self.elements = {e.attrib["id"]: e for e in reversed(list(root.iter())) if "id" in e.attrib}
        self.gradients = Gradients(self.cascade, self.elements)
        self.used_elements = self.curves = 0
        self.left_out = [f"<style> is left out: {why}" for why in self.cascade.skipped]

    def picture(self) -> Picture:
        """All marks.

        Raises:
            UserError: it has no size.
        """
        root = self.root
        box = viewbox_of(root)
        given = [length(root.get(side), math.nan, math.nan, 16.0) for side in ("width", "height")]
        width, height = sides(given, box)
        unsized = math.isnan(width) or math.isnan(height)
        if not unsized and not (0 < width < math.inf and 0 < height < math.inf):
            raise UserError(f"its size is {width:g} x {height:g}")
        viewport = (100.0, 100.0) if unsized else (width, height)
        matrix = IDENTITY
        if box and not unsized:
            matrix, viewport = fitted(box, width, height, self.aspect(root)), (box[2], box[3])
        outside = Surroundings(matrix, viewport, INHERITED, 1.0, (), 0, frozenset())
        marks = list(self.children(root, self.entered(root, outside)))
        if unsized:
            width, height = extent_of(marks)
        return Picture(width, height, marks, self.left_out)

    def children(self, element: Element, around: Surroundings) -> Iterator[Mark]:
        for child in element:
            yield from self.safely(child, around)

    def safely(self, element: Element, around: Surroundings) -> Iterator[Mark]:
        """The marks of an element and its descendants; one that cannot be read is left out, with a line."""
        self.used_elements += bool(around.uses)
        if self.used_elements > MAX_USED:
            raise UserError(f"<use> draws more than {MAX_USED:,} elements")
        if around.depth > MAX_NESTING:
            raise UserError(f"elements lie more than {MAX_NESTING} deep")
        try:
            yield from self.marks(element, around)
        except LeftOut as error:
            self.leave_out(element, str(error))

    def leave_out(self, element: Element, why: str) -> None:
        """Note that something is missing."""
        name = f"<{local_name(element)}>" + (
            f" '{element.get('id', '')[:40]}'" if element.get("id") else ""
        )
        line = f"{name} is left out: {why}"
        if line not in self.left_out:
            self.left_out.append(line)

    def marks(self, element: Element, around: Surroundings) -> Iterator[Mark]:
        name = local_name(element)
        if name not in DRAWN:
            return
        try:
            inside = self.entered(element, around)
        except UserError as error:
            raise LeftOut(str(error)) from None
        if inside.style["display"] != "none":
            yield from self.marks_inside(name, element, inside)

    def marks_inside(self, name: str, element: Element, inside: Surroundings) -> Iterator[Mark]:
        if name in SHAPES:
            yield from self.shape(element, inside)
        elif name == "use":
            yield from self.used(element, inside)
        elif name == "svg":
            yield from self.children(element, self.viewport(element, element, inside))
        elif name == "switch":
            for child in chosen(element):
                yield from self.safely(child, inside)
        elif name in GROUPS:
            yield from self.children(element, inside)
        elif inside.style["visibility"] == "visible":
            raise LeftOut("only shapes are drawn")

    def entered(self, element: Element, around: Surroundings) -> Surroundings:
        """The surroundings within an element: its style, transform, opacity and clip are added."""
        style = self.cascade.style(element, around.style)
        matrix = around.matrix
        if local_name(element) != "svg" or element is not self.root:
            matrix = compose(matrix, transform(style["transform"]))
        opacity = around.opacity * fraction(style["opacity"], "opacity")
        inside = replace(
            around, matrix=matrix, style=style, opacity=opacity, depth=around.depth + 1
        )
        for effect, nothing in UNSEEN.items():
            if style[effect] not in {"", nothing}:
                self.leave_out(element, f"its {effect} alone")
        clip = referred(style["clip-path"])
        known = clip in self.elements and local_name(self.elements[clip]) == "clipPath"
        if style["clip-path"] not in {"", "none"} and not known:
            self.leave_out(element, f"its clip-path '{style['clip-path'][:40]}' alone")
        if known:
            box = None
            if local_name(element) in SHAPES:
                box = box_of(contours_of(element, measure_in(inside)))
            inside = replace(inside, clips=(*inside.clips, *self.clipped(clip, inside, box)))
        return inside

    def clipped(self, name: str, around: Surroundings, box: Array | None) -> Iterator[Clip]:
        """The clips that a clip path consists of: the union of its shapes, and the clip path that it has itself."""
        element = self.elements[name]
        if name in around.uses:
            raise LeftOut(f"the clip path '{name[:40]}' uses itself")
        matrix = around.matrix
        if element.get("clipPathUnits") == "objectBoundingBox":
            if box is None:
                self.leave_out(element, "it is measured in a group's box")
                return
            extent = box[1] - box[0]
            matrix = compose(
                matrix, numpy.array([[extent[0], 0, box[0, 0]], [0, extent[1], box[0, 1]]])
            )
        style = {**INHERITED, **OWN}
        inner = replace(
            around, matrix=matrix, style=style, clips=(), uses=around.uses | {name}, opacity=1.0
        )
        inner = self.entered(element, inner)
        shapes = [
            (mark.contours, mark.fill_rule)
            for child in element
            if local_name(child) in {*SHAPES, "use"}
            for mark in self.safely(
                child, replace(inner, clips=(), style={**inner.style, "fill-rule": "clip"})
            )
        ]
        yield Clip(shapes)
        yield from inner.clips

    def used(self, element: Element, around: Surroundings) -> Iterator[Mark]:
        name = href(element)
        target = self.elements.get(name)
        if target is None:
            raise LeftOut(
                f"there is no '{name[:40]}' in the file" if name else "it refers to nothing"
            )
        if name in around.uses:
            raise LeftOut(f"'{name[:40]}' uses itself")
        measure = measure_in(around)
        x, y = measure(element.get("x", ""), "x", 0.0), measure(element.get("y", ""), "y", 0.0)
        shift = numpy.array([[1.0, 0, x], [0, 1, y]])
        inside = replace(around, matrix=compose(around.matrix, shift), uses=around.uses | {name})
        if local_name(target) in {"symbol", "svg"}:
            inside = self.entered(target, inside)
            if inside.style["display"] != "none":
                yield from self.children(target, self.viewport(target, element, inside))
            return
        yield from self.safely(target, inside)

    def viewport(self, element: Element, sized: Element, around: Surroundings) -> Surroundings:
        """The surroundings within a nested <svg> or a <symbol>, of the size that `sized` states.

        Raises:
            LeftOut: its viewBox is none, or it has no size.
        """
        measure = measure_in(around)
        try:
            wide, high = (
                measure(sized.get(side) or element.get(side) or "", axis, whole)
                for side, axis, whole in (
                    ("width", "x", around.viewport[0]),
                    ("height", "y", around.viewport[1]),
                )
            )
            x = y = 0.0
            if local_name(element) == "svg":
                x, y = (
                    measure(element.get("x", ""), "x", 0.0),
                    measure(element.get("y", ""), "y", 0.0),
                )
            box = viewbox_of(element)
            if wide <= 0 or high <= 0:
                raise LeftOut("it has no size")
            inner = fitted(box, wide, high, self.aspect(element)) if box else IDENTITY
        except UserError as error:
            raise LeftOut(str(error)) from None
        matrix = compose(around.matrix, numpy.array([[1.0, 0, x], [0, 1, y]]))
        clips = around.clips
        if around.style["overflow"] in {"hidden", "scroll"}:
            corners = numpy.array([[0, 0], [wide, 0], [wide, high], [0, high]])
            clips = (*clips, Clip([([ring(placed(corners, matrix))], "nonzero")]))
        size = (box[2], box[3]) if box else (wide, high)
        return replace(around, matrix=compose(matrix, inner), viewport=size, clips=clips)

    def aspect(self, element: Element) -> str | None:
        """How a viewBox is fitted into its viewport, as the attribute says."""
        text = element.get("preserveAspectRatio")
        if text is None or ASPECT.fullmatch(text.strip()):
            return text
        self.leave_out(element, f"its preserveAspectRatio '{text[:40]}' alone")
        return None

    def shape(self, element: Element, around: Surroundings) -> Iterator[Mark]:
        style = around.style
        if (rest := broken_off(element)) is not None:
            self.leave_out(element, rest)
        try:
            own = contours_of(element, measure_in(around))
            self.curves += sum(len(contour.cubics) for contour in own)
            if self.curves > MAX_CURVES:
                raise TooMany(f"more than {MAX_CURVES:,} curves")
            if not own or style["visibility"] != "visible":
                return
            found = [Contour(placed(c.cubics, around.matrix), c.closed) for c in own]
            if not all(numpy.isfinite(c.cubics).all() for c in found):
                raise LeftOut("a coordinate is not finite")
            yield self.mark(element, around, own, found)
        except (TooMany, LeftOut):
            raise
        except UserError as error:
            raise LeftOut(str(error)) from None

    def mark(
        self, element: Element, around: Surroundings, own: list[Contour], found: list[Contour]
    ) -> Mark:
        """A shape's contours with their paint; lengths along strokes are scaled as its transform does on average."""
        style, measure = around.style, measure_in(around)
        scale = 1.0 if style["vector-effect"] == "non-scaling-stroke" else stretch(around.matrix)
        rule = style["clip-rule"] if style["fill-rule"] == "clip" else style["fill-rule"]
        fill, fill_opacity = self.paint("fill", element, around, own)
        if all(contour.is_line for contour in own):
            # They have no inside.
            fill = None
        stroke, stroke_opacity = self.paint("stroke", element, around, own)
        dashes = dashes_of(style["stroke-dasharray"], measure)
        if stroke and any(style[f"marker-{place}"] != "none" for place in ("start", "mid", "end")):
            self.leave_out(element, "its markers alone")
        if fill and stroke and style["paint-order"].split()[:1] in (["stroke"], ["markers"]):
            self.leave_out(element, "its paint-order alone")
        for key, words in WORDS.items():
            if style[key] not in words:
                self.leave_out(element, f"its {key} '{style[key][:40]}' alone")
        width = measure(style["stroke-width"], "both", 1.0) * scale
        if stroke and width < 0:
            self.leave_out(element, f"its stroke of width '{style['stroke-width'][:40]}'")
        evenodd: Rule = "evenodd" if rule == "evenodd" else "nonzero"
        return Mark(
            contours=found,
            fill=fill,
            fill_opacity=fill_opacity,
            fill_rule=evenodd,
            stroke=stroke,
            stroke_opacity=stroke_opacity,
            width=width,
            cap=style["stroke-linecap"],
            join=style["stroke-linejoin"],
            miter_limit=measure(style["stroke-miterlimit"], "both", 4.0),
            dashes=tuple(dash * scale for dash in dashes),
            dash_offset=measure(style["stroke-dashoffset"], "both", 0.0) * scale,
            clips=around.clips,
        )

    def paint(
        self, which: str, element: Element, around: Surroundings, own: list[Contour]
    ) -> tuple[Paint | None, float]:
        """A fill or stroke, and its opacity."""
        text = around.style[which]
        opacity = around.opacity * fraction(around.style[f"{which}-opacity"], f"{which}-opacity")
        if text == "none":
            return None, opacity
        if text.startswith("url("):
            name, fallback = referred(text), text.partition(")")[2].strip()
            box = box_of(own)
            if name in self.elements:
                for other, why in self.gradients.gaps(name):
                    self.leave_out(other, why)
                try:
                    found = self.gradients.gradient(name, around.matrix, box, around.viewport)
                except UserError as error:
                    raise LeftOut(str(error)) from None
                if found is None and not any(self.gradients.linked(name)):
                    self.leave_out(element, f"its {which} by <{local_name(self.elements[name])}>")
                return found, opacity
            if not fallback:
                there = name[:40] or text[4:44].rstrip(")")
                self.leave_out(element, f"its {which} by '{there}', which is not in the file")
            if not fallback or fallback == "none":
                return None, opacity
            text = around.style["color"] if fallback.lower() == "currentcolor" else fallback
        red, green, blue, share = rgba(text)
        return (red, green, blue), opacity * share


def chosen(switch: Element) -> list[Element]:
    """The first child of a <switch> that asks for no extension and no other language than English."""
    for child in switch:
        languages = child.get("systemLanguage", "en").split(",")
        english = any(part.strip().lower().startswith("en") for part in languages)
        if (
            local_name(child) in DRAWN - UNKNOWN
            and english
            and "requiredExtensions" not in child.attrib
        ):
            return [child]
    return []
