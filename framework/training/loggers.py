"""Optional loggers beside TensorBoard and `metrics.jsonl`: a CSV file, Weights & Biases, MLflow, by their own clients.

They get every scalar, and the clients the configuration. Nothing leaves this machine unless a client's own environment
says so: Weights & Biases is offline without WANDB_MODE, MLflow writes into the run folder without MLFLOW_TRACKING_URI.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from framework.atomic import LineFile, write_atomically
from framework.config.explanation import first_line
from framework.errors import UserError
from framework.extras import import_extra, missing

# The package of each logger that has one; its extra is called like the logger.
CLIENTS = {"wandb": "wandb", "mlflow": "mlflow"}
# Of MLflow: the characters that a metric's name may not have, and the length of a parameter.
FORBIDDEN, LONGEST = re.compile(r"[^\w\-./: ]"), 6000

Record = Mapping[str, Any]


class Logger(Protocol):
    """Where a run's numbers go as well."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of a step, by tag."""

    def close(self) -> None:
        """Write what has not been written yet."""


def require_loggers(names: Sequence[str]) -> None:
    """Refuse a logger whose client is not installed, without importing it.

    Raises:
        UserError: names the command that installs it.
    """
    for name in names:
        if name in CLIENTS and find_spec(CLIENTS[name]) is None:
            raise missing(name, f"monitor.loggers=[{name}] needs the package {CLIENTS[name]}")


def make_loggers(
    names: Sequence[str],
    folder: Path,
    *,
    experiment: str,
    config: Mapping[str, Any],
    comes_again: Callable[[Record], bool],
) -> dict[str, Logger]:
    """The loggers of a session, by name; TensorBoard's writer is the monitor's own.

    Args:
        config: the configuration by dotted key.
        comes_again: whether a resumed session makes a record again: `{"step": step, tag: value}`.

    Raises:
        UserError: a client cannot begin.
    """
    makers: dict[str, Callable[[], Logger]] = {
        "csv": lambda: CsvLogger(folder / "metrics.csv", comes_again),
        "wandb": lambda: WandbLogger(folder, experiment, config),
        "mlflow": lambda: MlflowLogger(folder, experiment, config),
    }
    made: dict[str, Logger] = {}
    for name in (name for name in makers if name in names):
        try:
            made[name] = makers[name]()
        except UserError:
            raise
        # A client's own, such as a service that cannot be reached.
        except Exception as error:
            raise UserError(f"monitor.loggers=[{name}]: {first_line(error)}") from None
    return made


class CsvLogger:
    """`metrics.csv`: a line for each number, "step,tag,value"."""

    def __init__(self, path: Path, comes_again: Callable[[Record], bool]) -> None:
        kept = [row for row in rows(path) if not comes_again({"step": int(row[0]), row[1]: row[2]})]
        write_atomically(path, "".join(line(row) for row in [HEADER, *kept]).encode())
        self.file = LineFile(path)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for tag, value in values.items():
            self.file.append(line((str(step), tag, repr(float(value)))).rstrip("\n"))

    def close(self) -> None:
        self.file.close()


HEADER = ("step", "tag", "value")


def rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """The whole rows of an earlier session's file."""
    if not path.is_file():
        return
    for row in csv.reader(io.StringIO(path.read_text("utf-8", "replace"))):
        if len(row) == 3 and row[0].isdecimal():
            yield row[0], row[1], row[2]


def line(row: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue()


class WandbLogger:
    """Weights & Biases; its files are in `wandb/` of the run folder."""

    def __init__(self, folder: Path, experiment: str, config: Mapping[str, Any]) -> None:
        wandb = import_extra("wandb", "wandb", "monitor.loggers=[wandb] needs the package wandb")
        self.run = wandb.init(
            project="diffobj",
            name=f"{experiment}/{folder.name}",
            dir=str(folder),
            config=dict(config),
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(silent=True, console="off", save_code=False),
        )
        # A resumed run goes back to steps that the session before has logged.
        self.run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log({"step": step, **values})

    def close(self) -> None:
        self.run.finish(quiet=True)


def local_store(folder: Path) -> str:
    """The address of MLflow's data base in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{(folder / 'mlflow.db').absolute()}"


class MlflowLogger:
    """MLflow; without MLFLOW_TRACKING_URI its files are in `mlflow/` of the run folder."""

    def __init__(self, folder: Path, experiment: str, config: Mapping[str, Any]) -> None:
        mlflow = import_extra(
            "mlflow", "mlflow", "monitor.loggers=[mlflow] needs the package mlflow"
        )
        self.entities = import_extra("mlflow.entities", "mlflow", "")
        place = os.environ.get("MLFLOW_TRACKING_URI") or local_store(folder / "mlflow")
        self.client = mlflow.MlflowClient(place)
        found = self.client.get_experiment_by_name(experiment)
        number = found.experiment_id if found else self.client.create_experiment(experiment)
        self.id = self.client.create_run(number, run_name=folder.name).info.run_id
        for name, value in config.items():
            text = value if isinstance(value, str) else json.dumps(value)
            self.client.log_param(self.id, FORBIDDEN.sub("_", name), text[:LONGEST])

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        self.client.log_batch(
            self.id,
            metrics=[
                self.entities.Metric(FORBIDDEN.sub("_", tag), float(value), now, step)
                for tag, value in values.items()
            ],
        )

    def close(self) -> None:
        self.client.set_terminated(self.id)
