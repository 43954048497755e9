"""diffobj new-plugin: what it writes works at once, in a checkout and as a package of its own."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from framework.commands import new_plugin
from framework.plugin import ROOT
from tests.runs import Diffobj, files, forget_plugins, install, python, result

SHORT = ("monitor.tensorboard=false", "monitor.progress=none")


def ruff(*arguments: str) -> str:
    """Ruff with the house's settings; returns what it complains about."""
    command = [sys.executable, "-m", "ruff", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def assert_well_formed(*places: Path) -> None:
    settings = ("--config", str(ROOT / "pyproject.toml"), "--no-cache")
    for place in places:
        assert ruff("check", *settings, str(place)) == ""
        assert ruff("format", "--check", *settings, str(place)) == ""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this checkout, as far as new-plugin needs it."""
    copy = tmp_path / "checkout"
    for folder in ("framework", "plugins", "configs"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "tests" / "plugins").mkdir(parents=True)
    for package in ("tests", "tests/plugins"):
        (copy / package / "__init__.py").write_text("")
    shutil.copy(ROOT / "pyproject.toml", copy)
    monkeypatch.setattr(new_plugin, "ROOT", copy)
    return copy


@pytest.mark.slow
def test_in_a_checkout_it_trains_passes_its_test_and_the_checks(
    checkout, tmp_path, diffobj: Diffobj
):
    before = set(files(checkout))
    outcome = diffobj("new-plugin", "my_task")
    assert outcome.status == 0
    assert outcome.out.endswith(
        "  diffobj train experiment=my_task\n  diffobj check task=my_task\n"
    )
    written = set(files(checkout)) - before
    assert {name for name in written if (checkout / name).is_file()} == {
        "plugins/my_task/__init__.py",
        "plugins/my_task/task.py",
        "plugins/my_task/README.md",
        "plugins/my_task/configs/task/my_task.yaml",
        "plugins/my_task/configs/experiment/my_task.yaml",
        "tests/plugins/test_my_task.py",
    }
    assert_well_formed(checkout / "plugins", checkout / "tests")
    code = """
import sys
import pytest
from framework.commands import check, train
import framework.plugin
assert str(framework.plugin.ROOT) == sys.argv[1], framework.plugin.ROOT
assert train.run(["experiment=my_task", "hydra.run.dir=run", "monitor.tensorboard=false"]) == 0
assert check.run(["experiment=my_task"]) == 0
assert pytest.main(["-q", "-p", "no:cacheprovider", "tests/plugins/test_my_task.py"]) == 0
"""
    process = python("-c", code, str(checkout), cwd=checkout, path=str(checkout))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert result(checkout / "run")["metrics"]["distance"] < 0.05
    assert "my_task: all checks passed" in out


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, diffobj: Diffobj) -> Iterator[Path]:
    """A package of its own, installed."""
    outcome = diffobj("new-plugin", "my_package", f"folder={tmp_path}")
    assert outcome.status == 0
    assert "pip install -e" in outcome.out
    home = tmp_path / "my_package"
    install(home, "my_package", "my_package")
    monkeypatch.syspath_prepend(home)
    forget_plugins()
    yield home
    for name in [n for n in sys.modules if n.partition(".")[0] == "my_package"]:
        del sys.modules[name]
    monkeypatch.undo()
    forget_plugins()


def test_as_a_package_it_is_found_trains_and_is_sound(package, tmp_path, diffobj: Diffobj):
    assert_well_formed(package)
    assert "pip uninstall my_package" in (package / "README.md").read_text()
    for estimator in ("rloo", "reparameterisation"):
        folder = tmp_path / estimator
        options = (f"estimator={estimator}", f"hydra.run.dir={folder}", *SHORT)
        assert diffobj("train", "experiment=my_package", *options).status == 0
        assert result(folder)["metrics"]["distance"] < 0.05
        assert (folder / "media" / "aim.png").is_file()
    outcome = diffobj("check", "experiment=my_package")
    assert outcome.status == 0, outcome.out
    assert "my_package" in diffobj("plugins").out


@pytest.fixture
def package_with_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, diffobj: Diffobj
) -> Iterator[Path]:
    """A package that learns from pictures, installed."""
    outcome = diffobj("new-plugin", "my_pictures", "--data", f"folder={tmp_path}")
    assert outcome.status == 0
    home = tmp_path / "my_pictures"
    install(home, "my_pictures", "my_pictures")
    monkeypatch.syspath_prepend(home)
    forget_plugins()
    yield home
    for name in [n for n in sys.modules if n.partition(".")[0] == "my_pictures"]:
        del sys.modules[name]
    monkeypatch.undo()
    forget_plugins()


def pictures(folder: Path, labels: tuple[str, ...], count: int) -> Path:
    """A folder with pictures for each label, of one grey each: dark for the first, lighter for the next."""
    for number, label in enumerate(labels):
        (folder / label).mkdir(parents=True)
        for index in range(count):
            grey = Image.new("L", (18, 24), 60 + 120 * number + index)
            grey.save(folder / label / f"{index}.png")
    return folder


def test_with_data_it_is_well_formed_and_its_splits_follow_the_names(package_with_data, tmp_path):
    assert_well_formed(package_with_data)
    from my_pictures import data  # type: ignore[import-not-found]

    root = pictures(tmp_path / "pictures", ("dark", "light"), 30)
    before = {
        s: {e[0] for e in p.entries}
        for s, p in data.splits(str(root), ["dark", "light"], 8, True).items()
    }
    assert [len(before[s]) for s in ("train", "validation", "test")] == [
        sum(
            data.split_of(f"{label}/{n}.png") == s for label in ("dark", "light") for n in range(30)
        )
        for s in ("train", "validation", "test")
    ]
    Image.new("L", (18, 24)).save(root / "dark" / "more.png")
    after = data.splits(str(root), ["dark", "light"], 8, True)
    for split, entries in before.items():
        assert entries <= {entry[0] for entry in after[split].entries}
    assert after["train"].augment
    assert not after["test"].augment


def test_with_data_it_learns_and_names_pictures(package_with_data, tmp_path, diffobj: Diffobj):
    root, run = pictures(tmp_path / "pictures", ("dark", "light"), 30), tmp_path / "run"
    options = (f"task.root={root}", "trainer.steps=60", "trainer.evaluate_every=0")
    outcome = diffobj("train", "experiment=my_pictures", *options, f"hydra.run.dir={run}", *SHORT)
    assert outcome.status == 0, outcome.err
    assert result(run)["metrics"]["error"] == 0
    assert diffobj("predict", f"run={run}", f"input={root / 'light' / '3.png'}").status == 0
    table = (run / "predictions" / "labels.csv").read_text()
    assert table.startswith("picture,label,probability\n3.png,light,")


def test_with_data_a_batch_is_the_same_whoever_loads_it(package_with_data):
    from my_pictures.task import MyPictures  # type: ignore[import-not-found]

    def batch(workers: int, start: int) -> Any:
        task = MyPictures(workers=workers, batch_size=4)
        batches = task.batches(None, 1, start)
        first, second = next(batches), next(batches)
        return second if start == 0 else first

    alone = batch(0, 0)
    assert alone[0].shape == (4, 3, 16, 16)
    for other in (batch(1, 0), batch(0, 1)):
        assert torch.equal(alone[0], other[0])
        assert torch.equal(alone[1], other[1])


def test_with_data_a_folder_that_does_not_fit_is_refused_in_one_line(
    package_with_data, tmp_path, diffobj: Diffobj
):
    few = pictures(tmp_path / "few", ("dark", "light"), 1)
    (tmp_path / "none" / "only").mkdir(parents=True)
    bad = pictures(tmp_path / "bad", ("dark", "light"), 30)
    for file in bad.rglob("*.png"):
        file.write_bytes(b"no picture")
    cases = {
        tmp_path / "nowhere": "expected a folder with a sub-folder for each label",
        tmp_path / "none": "expected a folder with a sub-folder for each label",
        few: "2 pictures leave none for ",
        bad: ".png: cannot identify image file",
    }
    for root, said in cases.items():
        folder = tmp_path / f"run_{root.name}"
        outcome = diffobj(
            "train",
            "experiment=my_pictures",
            f"task.root={root}",
            f"hydra.run.dir={folder}",
            *SHORT,
        )
        assert outcome.status == 2
        assert said in outcome.err.splitlines()[-1]
        assert "Traceback" not in outcome.err


def test_a_package_says_how_it_is_installed(package):
    import tomllib

    project = tomllib.loads((package / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["framework.plugins"] == {"my_package": "my_package"}
    assert project["project"]["dependencies"] == ["diffobj"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("My_task", "'My_task': expected a lower-case Python name such as my_task"),
        ("my-task", "'my-task': expected a lower-case Python name"),
        ("1task", "'1task': expected a lower-case Python name"),
        ("übung", "'übung': expected a lower-case Python name"),
        ("class", "'class': expected a lower-case Python name"),
        ("_", "'_': expected a lower-case Python name"),
        ("_mine", "'_mine': expected a lower-case Python name"),
        ("null", "'null': expected a lower-case Python name"),
        ("on", "'on': expected a lower-case Python name"),
        ("../up", "'../up': expected a lower-case Python name"),
        ("javelin", "'javelin' is taken"),
        ("cartpole", "'cartpole' is taken"),
        ("framework", "'framework' is taken"),
        ("json", "'json' is taken"),
        ("numpy", "'numpy' is taken"),
        ("image", "'image' is taken"),
        ("aim", "'aim' is taken"),
        ("task", "'task' is taken"),
    ],
)
def test_a_name_that_would_not_work_is_refused(tmp_path, diffobj: Diffobj, name, said):
    outcome = diffobj("new-plugin", name, f"folder={tmp_path}")
    assert outcome.status == 2
    assert outcome.err.startswith(f"diffobj: {said}")
    assert files(tmp_path) == []


def test_nothing_is_overwritten(tmp_path, diffobj: Diffobj):
    mine = tmp_path / "my_task" / "my_task" / "task.py"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    outcome = diffobj("new-plugin", "my_task", f"folder={tmp_path}")
    assert outcome.status == 2
    assert outcome.err == f"diffobj: {mine} is there already; nothing was written\n"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_outside_a_checkout_it_writes_a_package_here(tmp_path, monkeypatch, diffobj: Diffobj):
    monkeypatch.setattr(new_plugin, "ROOT", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    assert diffobj("new-plugin", "my_task").status == 0
    assert (tmp_path / "my_task" / "pyproject.toml").is_file()
