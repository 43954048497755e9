"""diffobj new-plugin: write a working plugin to start from: diffobj new-plugin my_task

    diffobj new-plugin NAME [--data] [folder=PATH]

With --data it learns from a folder of pictures with labels, with splits, transforms and workers; else it needs no data.
In a checkout of diffobj the plugin is written to plugins/NAME and its test to tests/plugins/. Elsewhere, or with a
folder, it is a package of its own, PATH/NAME, that is found once it is installed (pip install -e PATH/NAME).
In Python: `framework.new_plugin`.
"""

from __future__ import annotations

import importlib.util
import keyword
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template

from framework.arguments import as_path
from framework.commands.main import keyed
from framework.config.composition import config_options
from framework.errors import UserError
from framework.plugin import ROOT, registry

TEMPLATES = Path(__file__).with_name("template")
# What `--data` has in place of, or besides, the files of the template.
DATA_TEMPLATES = TEMPLATES / "data"
NAME = re.compile("[a-z][a-z0-9_]*")
# `name: on` is a truth value in YAML.
NO_YAML_TEXT = {"null", "true", "false", "yes", "no", "on", "off"}
# By the templates, as names of classes.
IMPORTED = {
    "Aim",
    "Annotated",
    "Any",
    "Categorical",
    "Context",
    "Count",
    "Field",
    "Image",
    "Iterator",
    "Mapping",
    "Media",
    "Normal",
    "Path",
    "Pictures",
    "Program",
    "Sequence",
    "Split",
    "Task",
    "Tensor",
    "Text",
}


def run(arguments: Sequence[str]) -> int:
    """Write the plugin's files and say what to do next."""
    data = "--data" in arguments
    rest = [argument for argument in arguments if argument != "--data"]
    if not rest or "=" in rest[0]:
        raise UserError("which name? diffobj new-plugin my_task")
    name, options = rest[0], keyed(rest[1:], ("folder",))
    home = new_plugin(name, folder=options.get("folder"), data=data)
    if (home / "pyproject.toml").is_file():
        print(f"wrote {home}: a package of its own. Next:\n  pip install -e {home}")
    else:
        print(f"wrote {home} and tests/plugins/test_{name}.py. Next:")
    print(f"  diffobj train experiment={name}\n  diffobj check task={name}")
    return 0


def new_plugin(name: str, *, folder: str | Path | None = None, data: bool = False) -> Path:
    """Write a working plugin to start from; returns its folder.

    Args:
        name: a lower-case Python name that nothing else has.
        folder: where to write it as a package of its own, `folder/name`; None: inside the checkout, or here where
            there is none.
        data: it learns from a folder of pictures with labels.

    Raises:
        UserError: a name that would not work, or a file that is there already; nothing has been written then.
    """
    check_name(name)
    if folder is None and (ROOT / "pyproject.toml").is_file():
        home = ROOT / "plugins" / name
        write(checkout_files(name, data), data, name=name, package=f"plugins.{name}")
    else:
        home = as_path("folder", folder or ".") / name
        write(package_files(home, name, data), data, name=name, package=name)
    return home


def check_name(name: str) -> None:
    """Refuse what is no module name, and what exists already."""
    if not isinstance(name, str):
        raise UserError(f"name = {name!r}: expected a lower-case Python name such as 'my_task'")
    if not NAME.fullmatch(name) or keyword.iskeyword(name) or name in NO_YAML_TEXT:
        raise UserError(f"'{name}': expected a lower-case Python name such as my_task")
    taken = {found.name for found in registry().found} | set(registry().names("tasks"))
    for group in ("task", "experiment"):
        taken |= set(config_options().get(group, {}))
    if name in taken or class_name(name) in IMPORTED or importlib.util.find_spec(name):
        raise UserError(
            f"'{name}' is taken by a plugin, task, experiment, package or class; choose another name"
        )


def class_name(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def checkout_files(name: str, data: bool) -> dict[Path, str]:
    """Where each template goes inside a checkout."""
    test = ROOT / "tests" / "plugins" / f"test_{name}.py"
    return {**plugin_files(ROOT / "plugins" / name, name, data), test: "test.py"}


def package_files(home: Path, name: str, data: bool) -> dict[Path, str]:
    """Where each template goes in a package of its own."""
    return {
        home / "pyproject.toml": "pyproject.toml",
        home / "README.md": "package.md",
        home / "tests" / f"test_{name}.py": "test.py",
        **plugin_files(home / name, name, data),
    }


def plugin_files(folder: Path, name: str, data: bool) -> dict[Path, str]:
    return {
        **({folder / "data.py": "data.py"} if data else {}),
        folder / "__init__.py": "__init__.py",
        folder / "task.py": "task.py",
        folder / "README.md": "README.md",
        folder / "configs" / "task" / f"{name}.yaml": "task.yaml",
        folder / "configs" / "experiment" / f"{name}.yaml": "experiment.yaml",
    }


def write(files: dict[Path, str], data: bool, **values: str) -> None:
    """Fill each template in and write it.

    Args:
        files: where each template goes.
        data: whether it is the plugin with data.

    Raises:
        UserError: a file is there already; nothing has been written then.
    """
    for path in files:
        if path.exists():
            raise UserError(f"{path} is there already; nothing was written")
    title = class_name(values["name"])
    for path, template in files.items():
        own = DATA_TEMPLATES / f"{template}.txt"
        source = own if data and own.is_file() else TEMPLATES / own.name
        text = source.read_text(encoding="utf-8")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(text).substitute(values, title=title), encoding="utf-8")
