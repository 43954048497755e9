"""The front door in Python: the same bits as the command, runs loaded and used, tasks of one's own, no side effects."""

import json
import math
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributions import Normal

import framework
from framework import Context, Task, UserError
from framework.commands.main import main
from tests.runs import newest

NEWEST: Any = "newest"
SHORT = ["trainer.steps=4", "trainer.evaluate_every=2"]


class Aim(Task):
    """Find the mean of the draws that costs least: 0.6."""

    model: nn.Linear

    def __init__(self, start: float = 0.0) -> None:
        self.model = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.model.weight.fill_(start)

    def objective(self, context: Context, batch: Any) -> None:
        drawn = context.sample("x", Normal(self.model.weight[0, 0], 0.1))
        context.cost((drawn - 0.6) ** 2)


class Modelless(Task):
    """A task that forgot its model."""

    def objective(self, context: Context, batch: Any) -> None: ...


def untyped(value: Any) -> Any:
    """What a type checker would refuse."""
    return value


def aim(run: framework.Run) -> float:
    """What a trained `Aim` has found."""
    return run.task.parameters["weight"].item()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> framework.Run:
    """A run that no test writes to."""
    folder = tmp_path_factory.mktemp("javelin") / "run"
    return framework.train("javelin", seed=1, overrides=SHORT, folder=folder)


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    return int(exit.value.code or 0)


def test_train_leaves_the_same_bits_as_the_command_with_the_same_settings(run, tmp_path, capsys):
    place = tmp_path / "command"
    assert command("train", "experiment=javelin", "seed=1", *SHORT, f"hydra.run.dir={place}") == 0
    ours, theirs = newest(run.folder), newest(place)
    assert ours["model"].keys() == theirs["model"].keys()
    assert all(torch.equal(ours["model"][name], theirs["model"][name]) for name in ours["model"])
    assert (run.folder / "config.yaml").read_text() == (place / "config.yaml").read_text()
    assert run.metrics == json.loads((place / "result.json").read_text())["metrics"]


def test_a_run_knows_its_metrics_its_records_and_its_task(run):
    assert run.step == 4
    assert run.checkpoint == "last"
    estimated = {"objective", "objective_standard_error"}
    assert run.metrics.keys() == {"angle_degrees", "range_metres", *estimated}
    assert {"step", "seconds"} <= run.records[-1].keys()
    assert type(run.task).__name__ == "Javelin"
    assert not run.task.model.training
    assert run.stopped_by is None


def test_train_prints_nothing_unless_asked_to(run, tmp_path, capsys):
    capsys.readouterr()
    framework.train("javelin", overrides=SHORT, folder=tmp_path / "quiet")
    assert capsys.readouterr() == ("", "")
    framework.train("javelin", overrides=SHORT, folder=tmp_path / "loud", progress=True)
    assert capsys.readouterr().out.startswith("javelin: task javelin (1 parameters)")


def test_evaluate_measures_again_what_the_run_measured_at_its_end(run):
    assert framework.evaluate(run) == run.metrics
    last = framework.load(run.folder, checkpoint="last")
    assert framework.evaluate(last) == run.metrics
    assert run.evaluate(seed=5) != run.metrics


def test_load_takes_the_best_checkpoint_unless_told_otherwise(run):
    best = framework.load(run.folder)
    assert best.checkpoint == "best"
    assert best.step == newest(run.folder)["progress"]["best"]["step"]
    assert framework.load(str(run.folder), checkpoint="last").step == 4


def test_averaged_parameters_are_what_a_trained_run_has(tmp_path):
    run = framework.train(
        "javelin", overrides=[*SHORT, "trainer.ema=0.9"], folder=tmp_path / "averaged"
    )
    assert framework.evaluate(run) == run.metrics
    assert framework.evaluate(framework.load(run.folder, checkpoint="last")) == run.metrics


def test_compose_gives_the_settings_that_the_command_would_have():
    settings = framework.compose("experiment=javelin", "trainer.steps=5", "estimator=spsa")
    assert settings.trainer.steps == 5
    assert settings.task.name == "javelin"
    assert settings.estimator.name == "spsa"


def test_callbacks_see_every_step_and_evaluation(tmp_path):
    steps, evaluations = [], []
    framework.train(
        "javelin",
        overrides=SHORT,
        folder=tmp_path / "run",
        on_step=lambda step, estimate: steps.append((step, estimate.value)),
        on_evaluation=lambda step, metrics: evaluations.append((step, sorted(metrics))),
    )
    assert [step for step, _ in steps] == [1, 2, 3, 4]
    # Two while training and the final one.
    assert [step for step, _ in evaluations] == [2, 4, 4]
    assert "angle_degrees" in evaluations[0][1]


def test_a_callback_that_returns_false_stops_the_training_which_can_be_resumed(tmp_path):
    folder = tmp_path / "run"
    stopped = framework.train("javelin", overrides=SHORT, folder=folder, on_step=lambda n, _: n < 2)
    assert (stopped.step, stopped.result["stopped"]) == (2, "stopped by a callback")
    resumed = framework.train(resume=folder)
    whole = framework.train("javelin", overrides=SHORT, folder=tmp_path / "whole")
    assert resumed.metrics == whole.metrics


def test_a_function_of_the_step_is_the_schedule_and_is_given_again_to_resume(tmp_path):
    def halving(step: int) -> float:
        return 0.5**step

    options: dict[str, Any] = {"overrides": [*SHORT, "trainer.log_every=1"], "scheduler": halving}
    whole = framework.train("javelin", folder=tmp_path / "whole", learning_rate=0.08, **options)
    rows = [json.loads(row) for row in (whole.folder / "metrics.jsonl").open()]
    rates = [row["train/learning_rate"] for row in rows if "train/learning_rate" in row]
    assert rates == pytest.approx([0.08, 0.04, 0.02, 0.01])
    folder = tmp_path / "parts"
    options["overrides"] = [*options["overrides"], "trainer.stop_at=2"]
    framework.train("javelin", folder=folder, learning_rate=0.08, **options)
    resumed = framework.train(resume=folder, scheduler=halving, overrides=["trainer.stop_at=null"])
    assert resumed.metrics == whole.metrics
    with pytest.raises(UserError, match=r"scheduler: the function gave -1 for step 0; expected"):
        framework.train(Aim(), scheduler=lambda step: -1, steps=2, folder=tmp_path / "refused")


def test_a_task_object_trains_without_configuration_files_and_plugin(tmp_path):
    run = framework.train(
        Aim(),
        estimator="rloo",
        optimizer="adam",
        steps=100,
        learning_rate=0.05,
        folder=tmp_path / "run",
    )
    assert run.settings.experiment == "aim"
    assert run.settings.optimizer.options["learning_rate"] == 0.05
    assert aim(run) == pytest.approx(0.6, abs=0.1)
    assert run.metrics["objective"] == pytest.approx(0.01, abs=0.01)


def test_a_task_object_is_loaded_and_resumed_with_another_object_of_its_class(tmp_path):
    folder = tmp_path / "run"
    trained = framework.train(Aim(), steps=10, folder=folder, overrides=["trainer.stop_at=5"])
    loaded = framework.load(folder, task=Aim(start=9.0), checkpoint="last")
    assert aim(loaded) == aim(trained)
    resumed = framework.train(Aim(start=9.0), resume=folder, overrides=["trainer.stop_at=null"])
    whole = framework.train(Aim(), steps=10, folder=tmp_path / "whole")
    assert aim(resumed) == aim(whole)


class Changed(Aim):
    """Another objective with the same parameters."""


def test_a_run_that_is_continued_by_another_task_says_so(tmp_path):
    folder = tmp_path / "run"
    framework.train(Aim(), steps=1, folder=folder)
    framework.train(Aim(), resume=folder, overrides=["trainer.steps=2"])
    assert "continues it" not in (folder / "log.txt").read_text()
    framework.train(Changed(), resume=folder, overrides=["trainer.steps=3"])
    said = f"the run is of task '{__name__}:Aim', and '{__name__}:Changed' continues it"
    assert (folder / "log.txt").read_text().count(said) == 1


def test_a_task_object_takes_the_default_folder_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = framework.train(Aim(), steps=1)
    assert run.folder.parts[:2] == ("outputs", "aim")


def test_a_command_names_the_object_that_a_run_needs(tmp_path, capsys):
    framework.train(Aim(), steps=1, folder=tmp_path / "run")
    assert command("evaluate", f"run={tmp_path / 'run'}") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "framework.load(RUN, task=...)" in error


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: framework.train("javelyn"), "did you mean 'javelin'?"),
        (lambda: framework.train("javelin", estimator="rlo"), "unknown estimator 'rlo'"),
        (lambda: framework.train("javelin", overrides=["trainer.step=5"]), "did you mean 'steps'?"),
        (lambda: framework.train(Aim(), overrides=["task=javelin"]), "'task=javelin'"),
        (lambda: framework.load("nowhere"), "nowhere is no run folder"),
        (lambda: framework.load("nowhere", checkpoint=NEWEST), "expected best or last"),
        (lambda: framework.train(resume="nowhere"), "nowhere is no run folder"),
        (lambda: framework.compose("trainer.steps=-1"), "trainer.steps = -1"),
        (lambda: framework.compose("task=javelin", "task.drag=x"), "task.drag = 'x'"),
        (lambda: framework.compose("estimator=rloo", "estimator.samples=x"), "samples = 'x'"),
        (lambda: framework.compose("estimator.sites={a: b}"), "unknown rule 'b'"),
        (lambda: framework.compose("scheduler=linear", "scheduler.final=3"), "scheduler.final = 3"),
        (lambda: framework.compose("optimizer=sgd", "optimizer.nesterov=true"), "momentum above 0"),
        (lambda: framework.train(untyped(Aim)), "call it to make one"),
        (lambda: framework.train(untyped(3)), "experiment = 3"),
        (lambda: framework.train(Modelless()), "Modelless: set self.model"),
        (lambda: framework.fit(untyped("javelin")), "expected a framework.Task"),
        (lambda: framework.train(overrides="trainer.steps=3"), "overrides = 'trainer.steps=3'"),
        (lambda: framework.train("javelin", on_step=untyped(5)), "callback 5"),
        (lambda: framework.compose(untyped(3)), "expected a list"),
    ],
)
def test_a_mistake_is_a_user_error_of_one_line(call, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        call()
    assert line in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_in_a_folder_is_refused(run):
    with pytest.raises(UserError, match="holds a run already"):
        framework.train("javelin", overrides=SHORT, folder=run.folder)


@pytest.mark.parametrize(
    ("choice", "line"),
    [
        ({"experiment": "javelin"}, "experiment = 'javelin' does not go with resume"),
        ({"steps": 9}, "steps = '9' does not go with resume"),
        ({"estimator": "spsa"}, "estimator = 'spsa'"),
        ({"folder": "elsewhere"}, "folder = 'elsewhere'"),
    ],
)
def test_what_a_resumed_run_has_chosen_already_is_refused(run, choice, line):
    with pytest.raises(UserError) as error:
        framework.train(**choice, resume=run.folder)
    assert line in str(error.value)


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    framework.train("javelin", overrides=SHORT, folder="~/my runs/one")
    assert framework.load("~/my runs/one").folder == tmp_path / "my runs" / "one"
    assert (tmp_path / "my runs" / "one" / "result.json").is_file()


def test_a_task_that_predicts_or_exports_nothing_says_so(run, tmp_path):
    with pytest.raises(UserError, match="Javelin makes no predictions"):
        list(run.predict())
    with pytest.raises(UserError, match="Javelin cannot be exported"):
        run.export(tmp_path / "model.onnx")
    with pytest.raises(UserError, match="no such file"):
        list(run.predict("nowhere.jpg"))


def test_signal_handlers_threads_and_random_streams_stay_the_callers(tmp_path):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    torch.set_num_threads(2)
    stream = torch.random.get_rng_state()
    run = framework.train(
        "javelin", overrides=[*SHORT, "trainer.threads=1"], folder=tmp_path / "run"
    )
    framework.evaluate(framework.load(run.folder))
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.random.get_rng_state(), stream)
    torch.set_num_threads(1)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_in_another_thread_no_handler_is_set_while_it_trains(tmp_path):
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        framework.train(
            "javelin",
            overrides=SHORT,
            folder=tmp_path / "run",
            on_step=lambda step, estimate: seen.append(signal.getsignal(signal.SIGINT)),
        )

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before] * 4


def test_a_signal_stops_a_training_in_python_without_ending_the_process(tmp_path):
    def interrupt(step: int, estimate: framework.Estimate) -> None:
        if step == 2:
            signal.raise_signal(signal.SIGINT)

    run = framework.train("javelin", overrides=SHORT, folder=tmp_path / "run", on_step=interrupt)
    assert run.stopped_by == signal.SIGINT
    assert run.step == 2
    assert run.metrics == {}


def test_two_trainings_in_one_program_are_independent(tmp_path):
    def weights(name: str) -> Iterator[float]:
        run = framework.train("javelin", seed=2, overrides=SHORT, folder=tmp_path / name)
        yield from (p.item() for p in run.task.parameters.values())

    first = list(weights("first"))
    torch.manual_seed(99)
    framework.train(Aim(), steps=2, folder=tmp_path / "between")
    assert list(weights("second")) == first


def test_composing_leaves_a_hydra_program_around_it_as_it_was():
    from hydra.core.hydra_config import HydraConfig

    instance = HydraConfig.instance()
    before = instance.cfg
    framework.compose("experiment=javelin")
    assert instance.cfg is before


def test_two_threads_may_train_at_once(tmp_path):
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            framework.train(Aim(), steps=2, folder=tmp_path / name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_class_of_an_odd_name_has_a_plain_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = type("../Odd Name", (Aim,), {})
    assert framework.train(odd(), steps=1).folder.parts[:2] == ("outputs", "_odd_name")


@pytest.mark.parametrize(
    "seed",
    [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)],
)
def test_the_best_checkpoint_agrees_with_the_end_of_training_within_its_stated_spread(
    tmp_path, seed
):
    run = framework.train(
        "javelin", seed=seed, steps=200, folder=tmp_path / "run",
        overrides=["trainer.evaluate_every=20", "monitor.tensorboard=false"],
    )  # fmt: skip
    best, last = framework.evaluate(run.folder), run.metrics
    spread = math.hypot(*(m["objective_standard_error"] for m in (best, last)))
    assert 0.02 < last["objective_standard_error"] < 0.2
    assert abs(best["objective"] - last["objective"]) <= spread
    # The annealed end is judged as good as any earlier lucky value, and is later.
    assert run.result["best"]["step"] == 200
    assert best == last


def test_the_standard_error_of_the_default_evaluation_is_that_of_its_samples():
    from plugins.javelin.task import Javelin

    javelin, steady = Javelin(), Javelin(release_spread_degrees=0)
    with torch.no_grad():
        found = [javelin.evaluate(seed) for seed in range(200)]
        assert steady.evaluate(0)["objective_standard_error"] == 0
    spread = torch.tensor([metrics["objective"] for metrics in found]).std().item()
    # A standard deviation of 200 values is known to one part in 20 (1 / sqrt(2 * 199)): z < 4.
    assert abs(spread / found[0]["objective_standard_error"] - 1) < 4 * 0.05
