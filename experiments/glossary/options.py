"""Every public option: its key, what it may be, its default and what it means.

What an option may be and its default come from the signature of its component, its meaning from the comment in the
component's YAML; of a section without a comment from its docstring, of a component without a YAML from its arguments.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from experiments.glossary.comments import comments, title
from experiments.glossary.kinds import kind
from framework.config.composition import CORE_CONFIGS
from framework.config.schema import Choice, Settings
from framework.config.validation import COMPONENT_GROUPS, options_schema
from framework.plugin import Component, registry

# Whose components the page lists; a plugin of your own is documented by its own pages.
PLUGINS = ("framework", "detection", "faces", "games", "javelin", "sketching", "teaching")


@dataclass(frozen=True)
class Option:
    """One option as the page lists it; `meaning` is empty where nothing explains it."""

    key: str
    kind: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Entry:
    """A section of the configuration, or a component with its options."""

    heading: str
    summary: str
    options: list[Option]
    variants: list[str] = field(default_factory=list)


def entries() -> Iterator[Entry]:
    """The core's sections, then each component that a configuration can name."""
    yield from core_entries()
    for key, group in COMPONENT_GROUPS.items():
        yield from (component_entry(key, component) for component in components(group))
    for group in inner_groups():
        inner = (inner_entry(component) for component in components(group))
        yield from (entry for entry in inner if entry.options)


def inner_groups() -> list[str]:
    """The groups of components that an option of another component chooses: rules, models, losses."""
    groups = {group for group, _ in registry().components}
    return sorted(groups - {"commands", *COMPONENT_GROUPS.values()})


def components(group: str) -> list[Component]:
    """The components of a group that come with the project, by name."""
    registered = (registry().component(group, name) for name in registry().names(group))
    return [component for component in registered if component.plugin in PLUGINS]


def core_entries() -> Iterator[Entry]:
    """What the core itself reads: the top level, and its two sections."""
    file = CORE_CONFIGS / "train.yaml"
    written, meanings = read(file), comments(file)
    plain = {n: f for n, f in Settings.model_fields.items() if not is_model(f.annotation)}
    yield Entry("The top level", title(file), list(options(plain, written, meanings, "")))
    for key in ("trainer", "monitor"):
        file = CORE_CONFIGS / key / "default.yaml"
        schema = Settings.model_fields[key].annotation
        assert schema is not None
        listed = options(schema.model_fields, read(file), comments(file), key)
        yield Entry(f"{key}", title(file), list(listed))


def component_entry(key: str, component: Component) -> Entry:
    """A component with its options as its YAML explains them."""
    named = yamls()[key].get(component.name, [])
    own = [file for file in named if file.stem == component.name] or named[:1]
    variants = [file.stem for file in named if file.stem != component.name]
    fields = options_schema(component.load()).model_fields
    written = read(own[0]) if own else {}
    meanings = arguments(component.load())
    for file in (*(f for f in named if f not in own), *own):
        meanings |= {path: text for path, text in comments(file).items() if text}
    summary = title(own[0]) if own else component.summary()
    listed = list(options(fields, written, meanings, key))
    return Entry(f"{key}={component.name}", summary, listed, variants)


def inner_entry(component: Component) -> Entry:
    """A component that an option of another chooses; docstrings explain its options."""
    factory = component.load()
    meanings = arguments(factory)
    if component.group == "rules":
        file = CORE_CONFIGS / "estimator" / f"{component.name}.yaml"
        written = comments(file) if file.is_file() else {}
        meanings |= {path: text for path, text in written.items() if text}
    listed = list(options(options_schema(factory).model_fields, {}, meanings, ""))
    return Entry(f"{component.group}: {component.name}", component.summary(), listed)


@cache
def yamls() -> dict[str, dict[str, list[Path]]]:
    """The files of each group by the component that they name: {"task": {"game": [game.yaml, cartpole.yaml]}}."""
    found: dict[str, dict[str, list[Path]]] = {key: {} for key in COMPONENT_GROUPS}
    plugins = [p.configs for p in registry().found if p.configs and p.name in PLUGINS]
    for key, folder in ((key, folder) for folder in (CORE_CONFIGS, *plugins) for key in found):
        own = {file.stem: file for file in sorted((folder / key).glob("*.yaml"))}
        for stem, file in own.items():
            found[key].setdefault(component_of(stem, own), []).append(file)
    return found


def component_of(stem: str, files: Mapping[str, Path]) -> str:
    """The component that a file names, or the file that it starts from."""
    written = read(files[stem])
    if "name" in written:
        return str(written["name"])
    bases = [base for base in written.get("defaults", []) if base in files]
    return component_of(bases[0], files) if bases else stem


def read(file: Path) -> dict[str, Any]:
    written = yaml.safe_load(file.read_text(encoding="utf-8"))
    return written if isinstance(written, dict) else {}


def options(
    fields: Mapping[str, FieldInfo],
    written: Mapping[str, Any],
    meanings: Mapping[str, str],
    prefix: str,
    path: str = "",
) -> Iterator[Option]:
    """Each field, and below a section its own fields.

    Args:
        written: the values in YAML.
        meanings: the meanings by dotted path, of which `path` is where these fields stand.
        prefix: the key of the section in a configuration.
    """
    for name, info in fields.items():
        key, place = f"{prefix}.{name}".lstrip("."), f"{path}.{name}".lstrip(".")
        section, meaning = section_of(info.annotation), meanings.get(place, "")
        if section is None:
            yield Option(
                key,
                kind(info.annotation, tuple(info.metadata)),
                default_of(info, written.get(name)),
                meaning,
            )
            continue
        yield Option(key, "section", "", meaning or first_line(section))
        below = written.get(name)
        inner = below if isinstance(below, Mapping) else {}
        of_docstring = {f"{place}.{n}": text for n, text in arguments(section).items()}
        yield from options(section.model_fields, inner, {**of_docstring, **meanings}, key, place)


def is_model(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, if it holds one; a component chosen by name is none."""
    for part in (annotation, *get_args(annotation)):
        if is_model(part) and not issubclass(part, Choice):
            return part  # type: ignore[no-any-return]
    return None


def first_line(documented: Any) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def default_of(info: FieldInfo, written: Any) -> str:
    """The signature's default; what YAML takes from elsewhere, such as `${trainer.steps}`, as it stands there."""
    if isinstance(written, str) and "${" in written:
        return written
    value = written if info.is_required() else info.get_default(call_default_factory=True)
    if value is None and info.is_required():
        return "required"
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def arguments(factory: Callable[..., Any]) -> dict[str, str]:
    """What the `Args:` of docstrings say: of a class and its bases, of a function and the class that it returns."""
    built: Any = factory
    if not inspect.isclass(factory):
        named = inspect.signature(factory).return_annotation
        built = getattr(factory, "__globals__", {}).get(named)
    classes = reversed(built.__mro__) if inspect.isclass(built) else ()
    meanings: dict[str, str] = {}
    for source in (*classes, factory):
        meanings |= documented(inspect.cleandoc(source.__doc__ or ""))
    return meanings


def documented(text: str) -> dict[str, str]:
    """The arguments or attributes of one docstring: `name: meaning`, also several in a line: `a: ...; b: ...`."""
    section = re.search(r"^(?:Args|Attributes):\n((?: {4}.*\n?|\n)+)", text, re.MULTILINE)
    meanings: dict[str, str] = {}
    for entry in re.split(r"^ {4}(?! )", section[1] if section else "", flags=re.MULTILINE)[1:]:
        head, _, rest = re.sub(r"\s+", " ", entry).strip().partition(": ")
        first, *others = re.split(r"[;,] (?=\w+: )", rest)
        for names, meaning in [(head, first), *(other.split(": ", 1) for other in others)]:
            meanings |= dict.fromkeys(re.split(r",\s*", names), meaning.rstrip("."))
    return meanings
