"""diffobj train -m: folders of their own, what became of each job, going on, and the table at the end."""

import json
import math
from importlib.util import find_spec
from pathlib import Path

import pytest

from framework.config.hydra_line import HydraLine
from framework.errors import UserError
from framework.run import train_composed
from framework.sweeping import is_swept, listed_values
from framework.training.folders.run_folder import RunFolder
from framework.training.folders.sweep_folder import Job, SweepFolder, table
from tests.runs import Diffobj, files, newest, result

JAVELIN = (
    "experiment=javelin",
    "trainer.steps=3",
    "monitor.tensorboard=false",
    "monitor.progress=none",
)
CARTPOLE = (
    "experiment=cartpole",
    "task.games=2",
    "task.evaluation_episodes=1",
    "task.video_frames=1",
    "trainer.steps=1",
    "monitor.tensorboard=false",
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def jobs(folder: Path) -> list[Job]:
    return SweepFolder(folder).jobs()


def test_a_sweep_lives_under_its_experiments_name_and_says_what_was_swept(
    tmp_path, diffobj: Diffobj
):
    outcome = diffobj("train", "-m", *JAVELIN, "estimator=rloo,spsa", "seed=range(0,2)")
    assert outcome.status == 0, outcome.err
    (folder,) = (tmp_path / "outputs" / "javelin").iterdir()
    assert folder.name.startswith("sweep_")
    record = json.loads((folder / "sweep.json").read_text())
    assert record["swept"] == {"estimator": ["rloo", "spsa"], "seed": ["0", "1"]}
    values = [result(folder / str(i))["metrics"]["objective"] for i in range(4)]
    assert [job.value for job in jobs(folder)] == values
    assert jobs(folder)[3].overrides == ["estimator=spsa", "seed=1"]
    first, rloo, spsa, best = outcome.out.splitlines()[-4:]
    place = folder.relative_to(tmp_path)
    assert first == f"sweep {place}: 4 finished"
    mean, spread = (values[0] + values[1]) / 2, abs(values[0] - values[1]) / math.sqrt(2)
    assert rloo == f"  estimator=rloo  objective {mean:.4g} ± {spread:.4g} (2 runs)"
    assert spsa.startswith("  estimator=spsa  objective ")
    lowest = values.index(min(values))
    assert best.startswith(f"best (lowest objective): {min(values):.4g} estimator=")
    assert best.endswith(f" in {place / str(lowest)}")


def test_two_sweeps_in_one_instant_have_folders_of_their_own(monkeypatch):
    monkeypatch.setattr(
        "framework.training.folders.sweep_folder.time.time_ns", iter([5000, 5000, 6000]).__next__
    )
    monkeypatch.setattr("framework.training.folders.sweep_folder.time.strftime", lambda form: "now")
    assert [SweepFolder.new("javelin").path.name for _ in range(2)] == [
        "sweep_now-000005",
        "sweep_now-000006",
    ]


def test_the_same_command_again_skips_what_has_finished(tmp_path, diffobj: Diffobj):
    command = ("train", "-m", *JAVELIN, "seed=0,1", "hydra.sweep.dir=here")
    first = diffobj(*command)
    paths = [path for path in (tmp_path / "here" / "0").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in paths}
    again = diffobj(*command)
    assert first.status == again.status == 0
    assert again.out.splitlines()[-3:] == first.out.splitlines()[-3:]
    assert again.out.splitlines()[0] == f"{tmp_path / 'here' / '0'} has finished before"
    assert {path: path.read_bytes() for path in paths} == before


@pytest.mark.slow
def test_a_stopped_sweep_goes_on_with_the_bits_of_one_that_was_not(toy, tmp_path, diffobj: Diffobj):
    options = ("experiment=toy", "trainer.steps=6", "seed=0,1", "task.fault_at=3")
    stopped = diffobj("train", "-m", *options, "task.fault=interrupt", "hydra.sweep.dir=parted")
    assert stopped.status == 128 + 15
    assert stopped.out.splitlines()[-1] == (
        "diffobj train -m experiment=toy trainer.steps=6 seed=0,1 task.fault_at=3 task.fault=interrupt "
        "hydra.sweep.dir=parted goes on"
    )
    assert [job.state for job in jobs(tmp_path / "parted")] == ["stopped"]
    # The fault comes at step 3 only, which lies behind it now; the second job meets it.
    again = diffobj("train", "-m", *options, "task.fault=interrupt", "hydra.sweep.dir=parted")
    assert again.status == 128 + 15
    assert [job.state for job in jobs(tmp_path / "parted")] == ["finished", "stopped"]
    last = diffobj("train", "-m", *options, "task.fault=interrupt", "hydra.sweep.dir=parted")
    assert last.status == 0
    whole = diffobj("train", "-m", *options, "hydra.sweep.dir=whole")
    assert whole.status == 0
    for name in ("0", "1"):
        one, other = (newest(tmp_path / place / name)["model"] for place in ("parted", "whole"))
        assert all((one[key] == other[key]).all() for key in one)


@pytest.mark.slow
def test_another_sweep_or_a_run_in_the_folder_is_refused(tmp_path, diffobj: Diffobj):
    assert diffobj("train", "-m", *JAVELIN, "seed=0,1", "hydra.sweep.dir=here").status == 0
    before = files(tmp_path)
    other = diffobj("train", "-m", *JAVELIN, "seed=0,2", "hydra.sweep.dir=here")
    assert other.status == 2
    assert other.err == (
        f"diffobj: here holds another sweep: {' '.join(JAVELIN)} seed=0,1; the same command continues it, "
        "another one needs another hydra.sweep.dir\n"
    )
    assert diffobj("train", *JAVELIN, "hydra.run.dir=runs/0").status == 0
    mixed = diffobj("train", "-m", *JAVELIN, "seed=0,1", "hydra.sweep.dir=runs")
    assert mixed.status == 2
    assert mixed.err == "diffobj: runs holds runs of something else; take another hydra.sweep.dir\n"
    assert [name for name in files(tmp_path) if name.startswith("here")] == [
        name for name in before if name.startswith("here")
    ]


def test_two_processes_do_not_share_a_sweeps_folder(tmp_path, diffobj: Diffobj):
    with RunFolder(tmp_path / "here").held():
        outcome = diffobj("train", "-m", *JAVELIN, "seed=0,1", "hydra.sweep.dir=here")
    assert outcome.status == 2
    assert outcome.err.startswith("diffobj: run folder here is in use by process ")


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_failed_job_makes_the_status_2_with_every_launcher_and_the_others_run(
    tmp_path, diffobj: Diffobj, launcher
):
    options = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    if options:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    sweep = ["estimator=reparameterisation,rloo", "hydra.sweep.dir=here"]
    outcome = diffobj("train", "-m", *CARTPOLE, *sweep, *options)
    assert outcome.status == 2
    failed, finished = jobs(tmp_path / "here")
    assert (failed.state, finished.state) == ("failed", "finished")
    assert finished.mode == "max"
    assert "estimators that can serve it" in failed.error
    assert "sweep here: 1 finished, 1 failed" in outcome.out
    assert f"failed: estimator=reparameterisation in here/0: {failed.error}" in outcome.out
    assert not (tmp_path / "here" / "0").exists()


def test_an_unexpected_error_fails_its_own_job_only(toy, tmp_path, monkeypatch, diffobj: Diffobj):
    trained = train_composed

    def breaking(config, settings, folder, **options):
        if settings.seed == 0:
            raise ZeroDivisionError("a plugin's own")
        return trained(config, settings, folder, **options)

    monkeypatch.setattr("framework.sweeping.train_composed", breaking)
    outcome = diffobj(
        "train", "-m", "experiment=toy", "trainer.steps=2", "seed=0,1", "hydra.sweep.dir=here"
    )
    assert outcome.status == 2
    first, second = jobs(tmp_path / "here")
    assert (first.state, first.error) == ("failed", "ZeroDivisionError: a plugin's own")
    assert second.state == "finished"


def test_a_launcher_that_raises_is_one_line_and_the_sweep_can_go_on(
    tmp_path, monkeypatch, diffobj: Diffobj
):
    def launch(*given):
        raise TimeoutError("no node within 30 s\nand more")

    monkeypatch.setattr("framework.sweeping.run_hydra", launch)
    outcome = diffobj("train", "-m", *JAVELIN, "seed=0,1", "hydra.sweep.dir=here")
    assert (outcome.status, outcome.err) == (2, (
        "diffobj: the sweep has stopped: TimeoutError: no node within 30 s; the same command with "
        "hydra.sweep.dir=here goes on\n"
    ))  # fmt: skip
    assert files(tmp_path) == []


def test_optuna_gets_the_direction_of_the_primary_metric(tmp_path, diffobj: Diffobj):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    optuna = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"]
    outcome = diffobj(
        "train",
        "-m",
        *CARTPOLE,
        *optuna,
        "optimizer.learning_rate=interval(0.01,0.1)",
        "hydra.sweep.dir=here",
    )
    assert outcome.status == 0, outcome.err
    found = json.loads(json.dumps([job.value for job in jobs(tmp_path / "here")]))
    best = (tmp_path / "here" / "optimization_results.yaml").read_text()
    assert f"best_value: {max(found)}" in best


def test_a_table_has_mean_and_deviation_over_seeds_the_best_and_what_failed():
    def job(folder: str, *overrides: str, value: float | None = None, **more: str) -> Job:
        state = more.get("state", "finished")
        return Job(
            folder=folder,
            overrides=list(overrides),
            state=state,  # type: ignore[arg-type]
            metric="return_mean",
            mode="max",
            value=value,
            error=more.get("error", ""),
        )

    made = [
        job("0", "estimator=ppo", "seed=0", value=1.0),
        job("1", "estimator=ppo", "seed=1", value=4.0),
        job("2", "estimator=a2c", "seed=0", value=math.nan),
        job("3", "estimator=a2c", "seed=1", state="failed", error="it is broken"),
    ]
    assert table(Path("here"), made).splitlines() == [
        "sweep here: 3 finished, 1 failed",
        "  estimator=ppo  return_mean 2.5 ± 2.121 (2 runs)",
        "  estimator=a2c  return_mean nan (1 run)",
        "best (highest return_mean): 4 estimator=ppo seed=1 in here/1",
        "failed: estimator=a2c seed=1 in here/3: it is broken",
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("seed=range(0,3)", ["0", "1", "2"]),
        ("seed=0,7", ["0", "7"]),
        ("estimator=glob([rlo*,spsa])", ["rloo", "spsa"]),
        (
            "estimator=glob(*,exclude=[a*,b*,c*,d*,e*,f*,g*,m*,p*,r*,s*,t*,u*,vtrace_*])",
            ["vimco", "vtrace"],
        ),
        ("task.drag=interval(0,2.5)", ["0.0", "2.5"]),
        ("seed=3", ["3"]),
    ],
)
def test_what_an_override_stands_for(text, values):
    ((_, found),) = listed_values([text])
    assert found == values
    assert is_swept(text, found) is (text != "seed=3")


def test_a_glob_that_matches_nothing_is_refused():
    with pytest.raises(
        UserError, match=r"'scheduler=glob\(x\*\)': it matches no scheduler; choices: "
    ):
        listed_values(["scheduler=glob(x*)"])


@pytest.mark.parametrize(
    ("words", "flags", "overrides"),
    [
        ("experiment=acrobot --cfg job -p trainer", "--cfg job -p trainer", "experiment=acrobot"),
        ("--config-dir D -m seed=0,1", "--config-dir D -m", "seed=0,1"),
        ("-sc install=bash", "-sc", "install=bash"),
        ("seed=1 --info seed=2 --info plugins", "--info --info plugins", "seed=1 seed=2"),
        ("seed=0,1 hydra.mode=MULTIRUN", "-m", "seed=0,1"),
        ("--config-dir=D seed=1", "--config-dir=D", "seed=1"),
    ],
)
def test_flags_keep_their_values_in_any_order(words, flags, overrides):
    line = HydraLine.parse(words.split())
    assert line.flags == flags.split()
    assert line.overrides == overrides.split()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--experiment=javelin"],
            "'--experiment=javelin': settings have no dashes; write experiment=javelin",
        ),
        (
            ["--experiment", "javelin"],
            "'--experiment': settings have no dashes; write experiment=NAME",
        ),
        (["--multrun"], "'--multrun': unknown; did you mean '--multirun'?"),
        (["seed=1", "--cfg"], "'--cfg': a value is expected after it"),
    ],
)
def test_a_flag_that_is_none_is_told_in_one_line(words, message):
    with pytest.raises(UserError) as error:
        HydraLine.parse(words)
    assert str(error.value) == message


def test_shell_completion_and_packages_are_shown(diffobj: Diffobj):
    outcome = diffobj("train", "experiment=javelin", "--cfg", "job", "-p", "trainer")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith("# @package trainer\nsteps: ")
    outcome = diffobj("train", "-sc", "install=bash")
    assert (outcome.status, outcome.err) == (0, "")
    assert "complete" in outcome.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--cfg", "job", "hydra.foo=3"],
            "diffobj: Could not override 'hydra.foo'. To append to your config use +hydra.foo=3\n",
        ),
    ],
)
def test_what_hydra_refuses_is_told_in_one_line_with_its_advice(
    tmp_path, diffobj: Diffobj, words, message
):
    outcome = diffobj("train", *words)
    assert (outcome.status, outcome.err, outcome.out) == (2, message, "")
    assert files(tmp_path) == []


@pytest.mark.slow
def test_a_folder_of_ones_own_configurations_holds_for_every_job(tmp_path, diffobj: Diffobj):
    own = tmp_path / "conf" / "experiment"
    own.mkdir(parents=True)
    text = "# @package _global_\n# Mine.\ndefaults:\n  - override /task: javelin\ntrainer:\n  steps: 2\n"
    (own / "mine.yaml").write_text(text)
    for flags in (["--config-dir", str(own.parent)], [f"--config-dir={own.parent}"]):
        place = tmp_path / f"sweep_{len(flags)}"
        told = ["experiment=mine", "seed=0,1", f"hydra.sweep.dir={place}", "monitor.progress=none"]
        outcome = diffobj("train", *flags, "-m", *told)
        assert outcome.status == 0, outcome.err
        assert [result(place / str(n))["steps"] for n in (0, 1)] == [2, 2]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (
            ["seed=interval(0,9)"],
            "'seed=interval(0,9)': an interval needs a sweeper that samples it, such as hydra/sweeper=optuna "
            "(pip install hydra-optuna-sweeper)",
        ),
        (
            ["seed=0,1", "hydra/sweeper=nevergrad"],
            "hydra/sweeper=nevergrad is not installed: pip install hydra-nevergrad-sweeper",
        ),
        (
            ["seed=0,1", "hydra/launcher=submitit_slurm"],
            "hydra/launcher=submitit_slurm is not installed: pip install hydra-submitit-launcher",
        ),
    ],
)
def test_a_sweeper_that_is_missing_is_named_with_its_package(
    told, message, tmp_path, diffobj, monkeypatch
):
    package = message.rpartition(" ")[2].rstrip(")").replace("-", "_")
    if find_spec("hydra_plugins") and find_spec(f"hydra_plugins.{package}"):
        pytest.skip(f"{package} is installed here")
    monkeypatch.chdir(tmp_path)
    outcome = diffobj("train", "-m", "experiment=javelin", *told)
    assert (outcome.status, outcome.err) == (2, f"diffobj: {message}\n")
    assert list(tmp_path.iterdir()) == []
