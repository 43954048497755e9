"""How much of path data and lists of points is whole: what follows the first mistake is not drawn (SVG 2, 9.5.4)."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from plugins.sketching.svg.document import local_name

# Atomic: a number is as long as it can be, so that 1020 is not 102 and 0.
NUMBER = r"(?>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
FLAG, GAP = "[01]", r"[\s,]*"
ARC = (NUMBER, NUMBER, NUMBER, FLAG, FLAG, NUMBER, NUMBER)
# What follows each command, as often as it is there.
NUMBERS = {
    command: re.compile(GAP + GAP.join(ARC if command == "a" else [NUMBER] * count))
    for command, count in {
        "m": 2,
        "l": 2,
        "h": 1,
        "v": 1,
        "c": 6,
        "s": 4,
        "q": 4,
        "t": 2,
        "a": 7,
    }.items()
}
COMMAND = re.compile(r"[\s,]*([a-zA-Z])")
# Of a mistake, in its line.
SHOWN = 20


def sound_path(data: str) -> int:
    """Where path data's last whole command ends."""
    place = sound = 0
    while command := COMMAND.match(data, place):
        name, place = command[1].lower(), command.end()
        if name == "z" and sound:
            sound = place
            continue
        if name not in NUMBERS or (not sound and name != "m"):
            break
        while part := NUMBERS[name].match(data, place):
            place = sound = part.end()
        if sound < command.end():
            break
    return sound


def sound_points(text: str) -> int:
    """Where the last whole point of a list ends."""
    place = 0
    while part := NUMBERS["m"].match(text, place):
        place = part.end()
    return place


def broken_off(element: Element) -> str | None:
    """What of a path or a list of points is not drawn, from its first mistake on; None: it is whole."""
    name = local_name(element)
    if name == "path":
        what, text = "data", element.get("d", "")
        text = "" if text.strip() == "none" else text
        end = sound_path(text)
    elif name in {"polyline", "polygon"}:
        what, text = "points", element.get("points", "")
        end = sound_points(text)
    else:
        return None
    rest = text[end:].strip(" \t\r\n,")
    if not rest:
        return None
    return f"only its {what} from '{rest[:SHOWN]}' on"
