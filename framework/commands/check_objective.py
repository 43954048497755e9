"""diffobj check FILE.py:function: the user's own objective, tried with every estimator.

The file is imported, and so runs. It says where to differentiate and on what:

    import torch
    from torch.distributions import Bernoulli

    parameters = {"logit": torch.tensor(0.3)}          # or a list of tensors, or a module
    batch = None                                        # may be left out

    def objective(context, parameters, batch):
        context.cost((context.sample("b", Bernoulli(logits=parameters["logit"])) - 0.45) ** 2)

The function may also be a `framework.Program`, which declares batch axes or one sample at a time.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from framework.commands.main import keyed
from framework.errors import UserError, suggestion

EXAMPLE = 'parameters = {"theta": torch.tensor([0.3])}'
KEYS = ("estimators", "samples", "repeats", "seed", "parameters", "batch")


def names_a_function(arguments: Sequence[str]) -> bool:
    """Whether the first argument is a file of Python rather than `key=value`."""
    return bool(arguments) and re.search(r"\.py(:|$)", arguments[0].partition("=")[0]) is not None


def run(arguments: Sequence[str]) -> int:
    """Print the table; returns 1 where an estimator is wrong without saying so, or none serves the objective."""
    from framework.gradients.selection.objective_check import check

    given = keyed(arguments[1:], KEYS)
    module, function = load(arguments[0])
    named = given.get("estimators", "").strip("[]")
    parameters = attribute(module, given.get("parameters", "parameters"), f"for example {EXAMPLE}")
    batch = (
        attribute(module, given["batch"]) if "batch" in given else getattr(module, "batch", None)
    )
    # The first figures are seconds away.
    print(f"{arguments[0]}: trying {named or 'every estimator'}", flush=True)
    found = check(
        function,
        parameters,
        batch,
        estimators=[name.strip() for name in named.split(",") if name.strip()] or None,
        **{key: whole(key, given[key]) for key in ("samples", "repeats", "seed") if key in given},
    )
    print(found)
    return int(not found.ok)


def load(place: str) -> tuple[ModuleType, Any]:
    """The module and the function that `FILE.py:function` names.

    Raises:
        UserError: no such file or function, or the file's own error, with its line.
    """
    path, _, name = place.rpartition(":") if not place.endswith(".py") else (place, "", "")
    if not name:
        raise UserError(f"which function? diffobj check {path}:objective")
    file = Path(path)
    if not file.is_file():
        raise UserError(f"{path}: there is no such file")
    module = imported(file)
    function = attribute(module, name)
    from framework.program import Program

    if not callable(function) and not isinstance(function, Program):
        raise UserError(
            f"{path}: '{name}' is a {type(function).__name__}; expected a function "
            "(context, parameters, batch) or a framework.Program"
        )
    return module, function


def imported(file: Path) -> ModuleType:
    """Run the file as a module; what stands beside it can be imported by it."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.resolve().parent))
    before = sys.modules.get(file.stem)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        # Half a module is none: what imports this name later finds what it found before.
        del sys.modules[file.stem]
        if before is not None:
            sys.modules[file.stem] = before
        frames = traceback.extract_tb(error.__traceback__)
        lines = [
            frame.lineno for frame in frames if Path(frame.filename).resolve() == file.resolve()
        ]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
        where = f"{file}, line {line}" if line else str(file)
        reason = str(error).partition("\n")[0]
        raise UserError(f"{where}: {type(error).__name__}: {reason}") from error
    finally:
        sys.path.remove(str(file.resolve().parent))
    return module


def attribute(module: ModuleType, name: str, example: str = "") -> Any:
    """What the file calls `name`.

    Raises:
        UserError: nothing; with the example, else the nearest name.
    """
    if hasattr(module, name):
        return getattr(module, name)
    names = [n for n, value in vars(module).items() if is_own(module, n, value)]
    raise UserError(
        f"{module.__file__}: there is no '{name}'; {example or suggestion(name, names)}"
    )


def is_own(module: ModuleType, name: str, value: Any) -> bool:
    """Whether the file made something, rather than imported it."""
    if name.startswith("_") or isinstance(value, ModuleType):
        return False
    return getattr(value, "__module__", None) in {None, module.__name__} or not callable(value)


def whole(key: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{key} = {text}: expected a whole number") from None
