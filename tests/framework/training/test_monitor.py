"""What a run tells, read back: TensorBoard's events, `metrics.jsonl`, `log.txt` and the lines of a pipe."""

import argparse
import io
import math
import re
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image as Pillow
from tensorboard.backend.event_processing import data_provider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.plugins.hparams.backend_context import Context

import framework
from framework.commands import train
from framework.config.schema import MonitorSettings
from framework.media import Image, Projection, Text, Video
from framework.training.monitor import Monitor
from framework.training.session import command_text
from tests.runs import records, result

KINDS = ("images", "scalars", "tensors", "histograms")


def settings(**given: Any) -> MonitorSettings:
    return MonitorSettings(
        **{
            "tensorboard": True,
            "progress": "lines",
            "histograms_every": 0,
            "show_every": 0,
            **given,
        }
    )


NUMBERS = {"train": "train/objective", "norm": "gradient/norm"}


def monitor(
    folder: Path, numbers: Mapping[str, str] = NUMBERS, start: int = 0, **given: Any
) -> Monitor:
    folder.mkdir(exist_ok=True)
    return Monitor(
        folder, settings(**given), experiment="test", steps=10, start=start, numbers=numbers
    )


def events(folder: Path) -> EventAccumulator:
    """All that TensorBoard would show."""
    read = EventAccumulator(str(folder), size_guidance=dict.fromkeys(KINDS, 0))
    read.Reload()
    return read


@pytest.fixture(scope="module")
def javelin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run with everything shown."""
    folder: Path = tmp_path_factory.mktemp("javelin") / "run"
    options = [
        "trainer.steps=6",
        "trainer.log_every=2",
        "trainer.evaluate_every=3",
        "monitor.show_every=1",
    ]
    options += ["monitor.histograms_every=3", "monitor.progress=none", f"hydra.run.dir={folder}"]
    train.run(["experiment=javelin", *options])
    return folder


def test_a_run_writes_one_folder_of_events(javelin):
    assert len(list(javelin.glob("events.out.tfevents*"))) == 1
    assert [
        p for p in javelin.iterdir() if p.is_dir() and p.name not in {"media", "checkpoints"}
    ] == []


def test_scalars_are_there_at_their_steps(javelin):
    read = events(javelin)
    assert [e.step for e in read.Scalars("train/objective")] == [2, 4, 6]
    assert [e.step for e in read.Scalars("evaluation/angle_degrees")] == [3, 6]
    expected = {
        "train/objective", "train/learning_rate", "gradient/norm", "time/steps_per_second",
        "time/evaluations_per_second", "evaluation/angle_degrees", "evaluation/range_metres",
    }  # fmt: skip
    assert expected <= set(read.Tags()["scalars"])
    prefixes = {tag.partition("/")[0] for tag in read.Tags()["scalars"]}
    assert prefixes <= {"train", "gradient", "evaluation", "time", "final"}


def test_metrics_jsonl_holds_the_same_numbers(javelin):
    read = events(javelin)
    written = {r["step"]: r["train/objective"] for r in records(javelin) if "train/objective" in r}
    for event in read.Scalars("train/objective"):
        assert written[event.step] == pytest.approx(event.value, rel=1e-6)


def test_hyperparameters_and_the_final_metric_are_in_the_same_run(javelin):
    read = events(javelin)
    content = read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    started = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert started["estimator.name"].string_value == "rloo"
    assert started["optimizer.learning_rate"].number_value == 0.03
    (final,) = read.Scalars("final/angle_degrees")
    assert final.step == 6
    assert final.value == pytest.approx(result(javelin)["metrics"]["angle_degrees"], rel=1e-6)


def columns(folder: Path) -> list[str]:
    """The hyper-parameters in the order in which TensorBoard's page shows their columns."""
    flags = argparse.Namespace(logdir=str(folder), max_reload_threads=1, generic_data=True)
    provider = data_provider.MultiplexerDataProvider(loaded(folder), str(folder))
    context = Context(base_plugin.TBContext(data_provider=provider, flags=flags))
    request = RequestContext()
    contents = context.hparams_metadata(request, "")
    found = context.experiment_from_metadata(request, "", True, contents, None)
    return [info.name for info in found.hparam_infos]


def loaded(folder: Path) -> EventMultiplexer:
    runs = EventMultiplexer().AddRunsFromDirectory(str(folder))
    runs.Reload()
    return runs


@pytest.mark.slow
def test_hyperparameters_that_differ_in_a_sweep_come_first(tmp_path):
    framework.sweep(
        "javelin",
        over={"seed": [0, 1], "estimator": ["rloo", "spsa"]},
        overrides=["trainer.steps=1", "monitor.progress=none"],
        folder=tmp_path / "sweep",
    )
    shown = columns(tmp_path / "sweep")
    assert shown[:2] == ["estimator.name", "seed"]
    assert shown[2:] == sorted(shown[2:])
    assert not any(name.startswith("monitor.") for name in shown)


def test_without_a_sweep_estimator_rate_and_seed_come_first(javelin):
    assert columns(javelin)[:3] == ["estimator.name", "optimizer.learning_rate", "seed"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["/a b/bin/diffobj", "train", "seed=1"], "diffobj train seed=1"),
        (["/x/framework/commands/main.py", "train", "a=[1,2]"], "diffobj train 'a=[1,2]'"),
        (["diffobj train", "-m", "seed=0,1"], "diffobj train -m seed=0,1"),
        (["my script.py", "--fast"], "python 'my script.py' --fast"),
    ],
)
def test_the_command_can_be_pasted(arguments, line):
    assert command_text(arguments) == line


def test_the_configuration_can_be_read_as_text(javelin):
    read = events(javelin)
    (config,) = read.Tensors("config/text_summary")
    text = config.tensor_proto.string_val[0].decode()
    assert "    name: javelin" in text
    assert {"config/text_summary", "manifest/text_summary", "command/text_summary"} <= set(
        read.Tags()["tensors"]
    )


def test_pictures_and_histograms_are_there(javelin):
    read = events(javelin)
    shown = read.Images("media/throws")
    assert [e.step for e in shown] == [3, 6]
    with Pillow.open(io.BytesIO(shown[0].encoded_image_string)) as picture:
        assert picture.size == (shown[0].width, shown[0].height)
    assert [e.step for e in read.Histograms("gradients/angle")] == [3, 6]
    assert (javelin / "media" / "throws.png").is_file()


def test_images_and_animations_are_shown_as_they_were(tmp_path):
    said = monitor(tmp_path)
    pixels = numpy.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=numpy.uint8)
    frames = numpy.zeros((4, 6, 8, 3), dtype=numpy.uint8)
    frames[:, :, :, 0] = numpy.array([0, 80, 160, 240])[:, None, None]
    said.media(3, [Image("a", pixels), Video("b", frames), Text("c", "# ä")])
    said.close()
    read = events(tmp_path)
    (image,) = read.Images("media/a")
    with Pillow.open(io.BytesIO(image.encoded_image_string)) as opened:
        assert numpy.array_equal(numpy.asarray(opened), pixels)
    (video,) = read.Images("media/b")
    with Pillow.open(io.BytesIO(video.encoded_image_string)) as opened:
        assert opened.format == "GIF"
        assert getattr(opened, "n_frames", 1) == 4
    assert read.Tensors("media/c/text_summary")[0].tensor_proto.string_val[0].decode() == "# ä"
    assert sorted(p.name for p in (tmp_path / "media").iterdir()) == ["a.png", "b.gif", "c.md"]


def test_vectors_are_handed_to_the_projector_with_labels_and_pictures(tmp_path):
    said = monitor(tmp_path)
    vectors = torch.tensor([[0.0, 1.5], [2.0, -3.0], [0.25, 0.0]])
    pictures = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    pictures[1] = 255
    said.media(3, [Projection("who", vectors, ["Ann", "Bo", "Cy"], pictures)])
    said.close()
    assert "who" in (tmp_path / "projector_config.pbtxt").read_text()
    (folder,) = {path.parent for path in tmp_path.rglob("tensors.tsv")}
    read = [
        [float(n) for n in line.split()]
        for line in (folder / "tensors.tsv").read_text().splitlines()
    ]
    assert torch.equal(torch.tensor(read), vectors)
    assert (folder / "metadata.tsv").read_text().split() == ["Ann", "Bo", "Cy"]
    sprite = numpy.asarray(Pillow.open(folder / "sprite.png").convert("RGB"))
    assert sprite[:4, 4:8].min() == 255
    assert sprite[:4, :4].max() == 0
    kept = (tmp_path / "media" / "who.tsv").read_text().splitlines()
    assert kept[1] == "Bo\t2\t-3"


def test_numbers_that_are_not_finite_crash_nothing(tmp_path, capsys):
    said = monitor(tmp_path)
    said.scalars(1, {"train/objective": math.nan, "gradient/norm": math.inf}, announce=True)
    weight = torch.nn.Parameter(torch.tensor([1.0, math.nan, math.inf]))
    weight.grad = torch.full((3,), math.nan)
    said.histograms(1, {"weight": weight})
    said.hyperparameters({"rate": 0.1, "none": None, "list": [1]}, {"objective": math.nan})
    said.close()
    assert records(tmp_path)[0]["train/objective"] is None
    assert capsys.readouterr().out.endswith("objective      -  train    nan  norm    inf\n")
    read = events(tmp_path)
    assert read.Scalars("parameters/weight/not_finite")[0].value == 2
    assert read.Scalars("gradients/weight/not_finite")[0].value == 3
    assert read.Tags()["histograms"] == ["parameters/weight"]


def test_after_a_resume_no_step_is_there_twice(tmp_path):
    killed = monitor(tmp_path)
    for step in range(1, 8):
        killed.scalars(step, {"train/objective": step})
    killed.close()
    resumed = monitor(tmp_path, start=4)
    for step in range(5, 9):
        resumed.scalars(step, {"train/objective": 10 * step})
    resumed.close()
    expected = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 50), (6, 60), (7, 70), (8, 80)]
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("train/objective")] == expected
    assert [(r["step"], r["train/objective"]) for r in records(tmp_path)] == expected


@pytest.mark.parametrize("back", [0, 1, 5000])
def test_events_stay_in_order_where_the_clock_was_put_back(tmp_path, monkeypatch, back):
    """Or where no second has passed: TensorBoard reads the files in the order of the seconds in their names."""
    now = [2_000_000_000.5]
    monkeypatch.setattr("time.time", lambda: now[0])
    for start in (0, 2, 4):
        session = Monitor(tmp_path, settings(progress="none"), experiment="a", steps=9, start=start)
        for step in range(start + 1, start + 4):
            session.scalars(step, {"train/objective": 10 * start + step})
        session.close()
        now[0] -= back
    expected = [(1, 1), (2, 2), (3, 23), (4, 24), (5, 45), (6, 46), (7, 47)]
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("train/objective")] == expected
    assert len(list(tmp_path.glob("events*"))) == 3


def test_a_run_that_begins_anew_shows_nothing_of_what_was_before(tmp_path):
    for factor in (1, 10):
        begun = monitor(tmp_path)
        begun.scalars(1, {"train/objective": factor})
        begun.close()
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("train/objective")] == [(1, 10)]
    assert [(r["step"], r["train/objective"]) for r in records(tmp_path)] == [(1, 10)]


def test_a_record_that_was_cut_off_is_dropped_on_resume(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "train/obj')
    monitor(tmp_path, start=2).close()
    assert records(tmp_path) == [{"step": 1}]


def test_a_pipe_gets_plain_lines_and_the_log_gets_them_too(tmp_path, capsys):
    said = monitor(tmp_path, progress="auto")
    said.log("hello [bold]world[/bold]")
    said.scalars(1, {"train/objective": 1.23456}, announce=True)
    said.scalars(2, {"train/objective": 2.0})  # too soon after the last line
    said.close()
    out = capsys.readouterr().out
    line = "step  1/10 0:00:00 left  objective      -  train  1.235  norm      -\n"
    assert out == "hello [bold]world[/bold]\n" + line
    assert "\x1b" not in out
    assert (tmp_path / "log.txt").read_text() == out


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_a_bar_shows_the_latest_numbers_whatever_their_names(
    tmp_path, capsys, monkeypatch, columns
):
    monkeypatch.setenv("COLUMNS", str(columns))
    numbers = {"[T, N]": "train/[T, N]", "a[/b]": "train/a[/b]", "c": "train/c"}
    said = monitor(tmp_path, numbers, progress="bar")
    said.scalars(5, {"train/[T, N]": 1.5, "train/a[/b]": 2.0, "evaluation/objective": -0.5})
    said.log("a [/line] in between")
    said.close()
    *_, between, bar = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert between == "a [/line] in between"
    assert " 5/10 0:00:00  objective   -0.5  [T, N]    1.5  a[/b]      2  c      -" in bar
    assert bar.count("━") >= 2
    assert abs(bar.count("━") - bar.count("─")) <= 1
    assert len(bar) <= columns


def test_none_prints_nothing(tmp_path, capsys):
    said = monitor(tmp_path, progress="none")
    said.log("hello")
    said.scalars(1, {"train/objective": 1.0}, announce=True)
    said.close()
    assert capsys.readouterr().out == ""
    assert "hello" in (tmp_path / "log.txt").read_text()


def test_without_tensorboard_no_events_are_written(tmp_path):
    said = monitor(tmp_path, tensorboard=False)
    said.scalars(1, {"train/objective": 1.0})
    said.media(1, [Text("c", "text")])
    said.histograms(1, {"w": torch.nn.Parameter(torch.ones(1))})
    said.hyperparameters({}, {})
    said.texts({"config": "a: 1"})
    said.close()
    assert list(tmp_path.glob("events*")) == []


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may have more than 64 KiB, as on a disk that refuses."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_refuses_tensorboards_file_ends_that_file_and_nothing_else(
    tmp_path, small_files, capfd
):
    said = monitor(tmp_path)
    said.texts({"config": "x" * 10**5})
    for step in range(1, 200):
        said.scalars(step, {"train/objective": 1.0})
    said.close()
    log = (tmp_path / "log.txt").read_text()
    assert re.search(r"monitor.tensorboard: it gets nothing from step \d+: File too large\n", log)
    assert log.count("monitor.tensorboard") == 1
    assert [record["step"] for record in records(tmp_path)] == list(range(1, 200))
    assert capfd.readouterr().err == ""


def test_a_disk_that_refuses_the_last_of_tensorboards_file_is_said(tmp_path, small_files, capfd):
    said = monitor(tmp_path)
    said.texts({"config": "x" * 10**5})
    said.close()
    assert (
        "monitor.tensorboard: it gets nothing at the end of the run: File too large"
        in (tmp_path / "log.txt").read_text()
    )
    assert capfd.readouterr().err == ""


def test_the_line_of_an_evaluation_names_its_split(tmp_path: Path, capsys: Any) -> None:
    shown = monitor(tmp_path / "run")
    shown.scalars(5, {"evaluation/objective": 2.0}, announce=True)
    shown.scalars(10, {"final/objective": 3.0}, announce=True)
    shown.scalars(10, {"train/objective": 1.0}, announce=True)
    shown.close()
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition("  ")[2] for line in lines[:2]] == ["(validation)", "(test)"]
    assert "(" not in lines[2]
    assert all(len(line) <= 120 for line in lines)
