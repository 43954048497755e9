"""The style of each element: presentation attributes, then style sheets by specificity, then its `style` (CSS cascade).

tinycss2 parses style sheets and cssselect2 matches their selectors; both are loaded only for files that need them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any
from xml.etree.ElementTree import Element

from framework.errors import UserError
from framework.extras import import_extra
from plugins.sketching.svg.document import local_name

Style = Mapping[str, str]

# Properties that children take from their parents, and what they are where nothing is said.
INHERITED: Style = MappingProxyType(
    {
        "color": "black",
        "fill": "black",
        "fill-opacity": "1",
        "fill-rule": "nonzero",
        "stroke": "none",
        "stroke-opacity": "1",
        "stroke-width": "1",
        "stroke-linecap": "butt",
        "stroke-linejoin": "miter",
        "stroke-miterlimit": "4",
        "stroke-dasharray": "none",
        "stroke-dashoffset": "0",
        "visibility": "visible",
        "clip-rule": "nonzero",
        "font-size": "16",
        "marker-start": "none",
        "marker-mid": "none",
        "marker-end": "none",
        "paint-order": "normal",
    }
)
# The other properties that are read.
OWN: Style = MappingProxyType(
    {
        "opacity": "1",
        "display": "inline",
        "clip-path": "none",
        "mask": "none",
        "filter": "none",
        "mix-blend-mode": "normal",
        "transform-origin": "0 0",
        "overflow": "hidden",
        "vector-effect": "none",
        "stop-color": "black",
        "stop-opacity": "1",
        "transform": "",
    }
)


class Cascade:
    """What a document's style sheets declare, by element."""

    def __init__(self, root: Element) -> None:
        self.matched: dict[Element, list[dict[str, tuple[str, bool]]]] = {}
        # What of the style sheets is not followed.
        self.skipped: list[str] = []
        sheets = [e for e in root.iter() if local_name(e) == "style" and (e.text or "").strip()]
        if sheets:
            self.match(root, "\n".join(str(sheet.text) for sheet in sheets))

    def match(self, root: Element, css: str) -> None:
        tinycss2 = import_extra("tinycss2", "sketching", "SVG's style sheets need tinycss2")
        cssselect2 = import_extra("cssselect2", "sketching", "SVG's style sheets need cssselect2")
        matcher = cssselect2.Matcher()
        for rule in tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True):
            if rule.type != "qualified-rule":
                self.skip(
                    f"only its @{rule.at_keyword}" if rule.type == "at-rule" else "a part of it"
                )
                continue
            try:
                selectors = cssselect2.compile_selector_list(rule.prelude)
            except cssselect2.SelectorError:
                name = tinycss2.serialize(rule.prelude).strip()
                self.skip(f"only its rule for '{name[:40]}'")
                continue
            for selector in selectors:
                matcher.add_selector(selector, declarations(rule.content))
        for wrapper in cssselect2.ElementWrapper.from_xml_root(root).iter_subtree():
            found = [payload for *_, pseudo, payload in matcher.match(wrapper) if pseudo is None]
            if found:
                self.matched[wrapper.etree_element] = found

    def skip(self, what: str) -> None:
        if what not in self.skipped:
            self.skipped.append(what)

    def style(self, element: Element, parent: Style) -> dict[str, str]:
        """The computed style of an element, given its parent's."""
        found = {**INHERITED, **{key: parent[key] for key in INHERITED if key in parent}, **OWN}
        said = {key: value for key, value in element.attrib.items() if key in found}
        rules = [*self.matched.get(element, [])]
        if "style" in element.attrib:
            rules.append(declarations(element.attrib["style"]))
        for important in (False, True):
            for rule in rules:
                said |= {k: v for k, (v, i) in rule.items() if i == important and k in found}
        for key, value in said.items():
            text = value.strip()
            if text == "inherit":
                text = parent.get(key, found[key])
            elif text in {"initial", "unset"}:
                text = {**INHERITED, **OWN}[key]
            found[key] = text
        for key in ("fill", "stroke", "stop-color"):
            if found[key].lower() == "currentcolor":
                found[key] = found["color"]
        return found


def declarations(css: Any) -> dict[str, tuple[str, bool]]:
    """The properties that a block declares, each with whether it is important."""
    if isinstance(css, str) and not set(css) & set("/!\"'\\{@"):
        # Plain declarations, as editors write them.
        pairs = (part.partition(":") for part in css.split(";"))
        return {key.strip().lower(): (value.strip(), False) for key, colon, value in pairs if colon}
    return dict(parsed(css))


def parsed(css: Any) -> Iterator[tuple[str, tuple[str, bool]]]:
    tinycss2 = import_extra("tinycss2", "sketching", "SVG's style sheets need tinycss2")
    for item in tinycss2.parse_blocks_contents(css, skip_comments=True, skip_whitespace=True):
        if item.type == "declaration":
            yield item.lower_name, (tinycss2.serialize(item.value).strip(), item.important)


def fraction(text: str, name: str) -> float:
    """A number or percentage, cut to 0..1.

    Raises:
        UserError: no number.
    """
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise UserError(f"{name} = '{text[:40]}' is no number") from None
    return min(max(value, 0.0), 1.0)
