"""Optional loggers: a CSV file, and the clients of Weights & Biases and MLflow with local files only."""

import csv
import json
import math
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import framework
from framework.errors import UserError
from framework.training.loggers import CsvLogger, local_store, make_loggers
from framework.training.monitor import Monitor
from tests.framework.training.test_monitor import settings
from tests.runs import Diffobj, records

SHORT = ["trainer.steps=4", "trainer.log_every=2", "trainer.evaluate_every=2"]


def numbers(folder: Path) -> set[tuple[int, str, float]]:
    """Every number that `metrics.jsonl` holds."""
    return {
        (r["step"], tag, value)
        for r in records(folder)
        for tag, value in r.items()
        if tag not in {"step", "seconds"} and value is not None
    }


def table(path: Path) -> list[tuple[int, str, float]]:
    header, *rows = csv.reader(path.read_text().splitlines())
    assert header == ["step", "tag", "value"]
    return [(int(step), tag, float(value)) for step, tag, value in rows]


def test_without_loggers_nothing_but_the_runs_own_files_is_there(tmp_path):
    run = framework.train("javelin", folder=tmp_path / "run", overrides=SHORT)
    assert not {"metrics.csv", "wandb", "mlflow"} & set(os.listdir(run.folder))


def test_a_csv_file_holds_every_number_over_a_resume_too(tmp_path):
    options = [*SHORT, "monitor.loggers=[csv]", "monitor.tensorboard=false"]
    run = framework.train(
        "javelin", folder=tmp_path / "run", overrides=[*options, "trainer.stop_at=2"]
    )
    assert set(table(run.folder / "metrics.csv")) == numbers(run.folder)
    framework.train(resume=run.folder, overrides=["trainer.stop_at=null"])
    rows = table(run.folder / "metrics.csv")
    assert set(rows) == numbers(run.folder)
    assert len(rows) == len(set(rows))
    assert {step for step, _, _ in rows} == {2, 4}


def test_a_csv_file_that_was_cut_or_has_odd_names_is_read_back(tmp_path):
    path = tmp_path / "metrics.csv"
    first = CsvLogger(path, lambda record: False)
    first.scalars(1, {'AP/a,"b"': 0.1, "train/x": math.nan})
    first.close()
    path.write_text(path.read_text() + "2,train/x")
    again = CsvLogger(path, lambda record: record["step"] > 1)
    again.scalars(2, {"train/x": 1e-300})
    again.close()
    rows = table(path)
    assert rows[0] == (1, 'AP/a,"b"', 0.1)
    assert math.isnan(rows[1][2])
    assert rows[2:] == [(2, "train/x", 1e-300)]


def test_tensorboard_may_be_named_among_the_loggers(tmp_path):
    overrides = [*SHORT, "monitor.tensorboard=false", "monitor.loggers=[tensorboard]"]
    run = framework.train("javelin", folder=tmp_path / "run", overrides=overrides)
    assert len(list(run.folder.glob("events.out.tfevents.*"))) == 1


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_client_that_is_not_installed_is_refused_before_there_is_a_folder(
    tmp_path, monkeypatch, diffobj: Diffobj, name
):
    monkeypatch.setattr("framework.training.loggers.find_spec", lambda module: None)
    outcome = diffobj(
        "train",
        "experiment=javelin",
        f"monitor.loggers=[{name}]",
        f"hydra.run.dir={tmp_path / 'r'}",
    )
    assert outcome.status == 2
    assert outcome.err == (
        f"diffobj: monitor.loggers=[{name}] needs the package {name}: make install EXTRAS={name}\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_logger_is_one_line(diffobj: Diffobj):
    outcome = diffobj("train", "experiment=javelin", "monitor.loggers=[csb]")
    assert outcome.status == 2
    assert "monitor.loggers.0 = 'csb': expected 'tensorboard', 'csv', 'wandb' or 'mlflow'" in (
        outcome.err
    )


class Failing:
    """A service that is gone after the first number."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def scalars(self, step, values):
        if self.steps:
            raise ConnectionError("the service is gone\nand more")
        self.steps.append(step)

    def close(self):
        raise ConnectionError("still gone")


def test_a_client_that_cannot_begin_is_one_line(tmp_path, monkeypatch):
    def refused(*given):
        raise ConnectionError("no such service\nand more")

    monkeypatch.setattr("framework.training.loggers.require_loggers", lambda names: None)
    monkeypatch.setattr("framework.training.assembly.require_loggers", lambda names: None)
    monkeypatch.setattr("framework.training.loggers.MlflowLogger", refused)
    with pytest.raises(UserError, match=r"^monitor\.loggers=\[mlflow\]: no such service$"):
        framework.train(
            "javelin", folder=tmp_path / "run", overrides=[*SHORT, "monitor.loggers=[csv,mlflow]"]
        )
    assert not (tmp_path / "run").exists()


def test_a_logger_that_fails_is_named_once_and_the_training_goes_on(tmp_path, capsys):
    monitor = Monitor(tmp_path, settings(tensorboard=False), experiment="test", steps=9, start=0)
    failing, closing = Failing(), Failing()
    monitor.loggers = {"mlflow": failing}
    for step in (1, 2, 3):
        monitor.scalars(step, {"train/objective": 1.0})
    monitor.loggers["wandb"] = closing
    monitor.close()
    assert failing.steps == [1]
    said = [line for line in capsys.readouterr().out.splitlines() if "monitor.loggers" in line]
    assert said == [
        "monitor.loggers: mlflow gets nothing from step 2: the service is gone",
        "monitor.loggers: wandb was not closed: still gone",
    ]
    assert [r["step"] for r in records(tmp_path)] == [1, 2, 3]


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No service of the environment, and the clients' own settings elsewhere."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.slow
def test_mlflow_gets_every_number_and_the_configuration_in_local_files(tmp_path, local):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    overrides = [*SHORT, "monitor.tensorboard=false", "monitor.loggers=[mlflow]"]
    run = framework.train("javelin", folder=tmp_path / "run", overrides=overrides)
    client = mlflow.MlflowClient(local_store(run.folder / "mlflow"))
    found = client.get_experiment_by_name("javelin")
    (written,) = client.search_runs([found.experiment_id])
    assert written.info.status == "FINISHED"
    assert written.data.params["estimator.name"] == "rloo"
    assert written.data.params["trainer.steps"] == "4"
    history = {
        (metric.step, tag, metric.value)
        for tag in written.data.metrics
        for metric in client.get_metric_history(written.info.run_id, tag)
    }
    assert history == numbers(run.folder)


def wandb_records(path: Path) -> Iterator[bytes]:
    """The records of a file of Weights & Biases: LevelDB's log format, after a header of 7 bytes."""
    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 2**15 - at % 2**15 < 7:
            # The end of a block that has no room for a record's head.
            at += 2**15 - at % 2**15
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        # Whole, or the last part.
        if kind in (1, 4):
            yield parts
            parts = b""


@pytest.mark.slow
def test_wandb_gets_every_number_offline(tmp_path, local):
    wandb = pytest.importorskip("wandb")
    protocol = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    overrides = [*SHORT, "monitor.tensorboard=false", "monitor.loggers=[wandb]"]
    run = framework.train("javelin", folder=tmp_path / "run", overrides=overrides)
    # Its own process writes the file when the last run's has ended.
    wandb.teardown()
    (written,) = (run.folder / "wandb").glob("offline-run-*/run-*.wandb")
    history = set()
    for data in wandb_records(written):
        record = protocol.Record.FromString(data)
        row = {
            item.key or ".".join(item.nested_key): json.loads(item.value_json)
            for item in record.history.item
        }
        history |= {(row["step"], tag, row[tag]) for tag in row if "/" in tag}
    assert history == numbers(run.folder)


def test_only_what_is_named_is_imported(tmp_path):
    before = set(sys.modules)
    made = make_loggers(
        ["csv"], tmp_path, experiment="a", config={}, comes_again=lambda record: False
    )
    assert list(made) == ["csv"]
    assert not {"wandb", "mlflow"} & (set(sys.modules) - before)
    with pytest.raises(UserError, match=r"(?i)is a directory"):
        CsvLogger(tmp_path, lambda record: False)
