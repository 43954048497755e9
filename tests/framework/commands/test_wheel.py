"""The wheel works as well as the checkout: it carries code, configurations and templates, and nothing else."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from framework.plugin import ROOT
from tests.runs import python, result


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources and unpacked as an installer would."""
    place: Path = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    ignored = shutil.ignore_patterns("__pycache__", ".*", "outputs", "multirun", "build", "dist")
    source.mkdir()
    for name in ("framework", "plugins", "configs", "tests", "experiments"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "site")
    return place / "site"


def names(folder: Path, suffix: str) -> set[str]:
    """The files of the package, its configurations as they lie in a wheel."""
    found = {
        p.relative_to(folder).as_posix()
        for top in ("framework", "plugins", "configs")
        for p in (folder / top).rglob(f"*{suffix}")
    }
    return {f"framework/core_{name}" if name.startswith("configs/") else name for name in found}


def test_configurations_manifests_and_templates_travel_and_tests_stay(unpacked):
    for suffix in (".py", ".yaml", ".txt", ".md", ".zip", ".html", ".js", ".css"):
        assert names(unpacked, suffix) == names(ROOT, suffix)
    tops = {p.name for p in unpacked.iterdir() if not p.name.endswith(".dist-info")}
    assert tops == {"framework", "plugins"}


@pytest.mark.slow
def test_another_package_with_plugins_and_configs_breaks_nothing_nor_does_its_removal(
    unpacked, tmp_path
):
    """Its files lie over ours where the names are the same, and an installer takes them away with it."""
    site = tmp_path / "site"
    shutil.copytree(unpacked, site)
    theirs = [site / "plugins" / "__init__.py", site / "plugins" / "theirs.py"]
    theirs += [site / "configs" / "__init__.py", site / "configs" / "train.yaml"]
    code = """
import framework
from framework.plugin import registry
assert registry().broken == (), registry().broken
assert registry().component("tasks", "javelin").options()
assert framework.compose("experiment=javelin").task.name == "javelin"
"""
    for installed in (True, False):
        for file in theirs:
            file.parent.mkdir(exist_ok=True)
            file.write_text("raise RuntimeError('theirs')\n") if installed else file.unlink()
        _, err = python("-c", code, cwd=tmp_path, path=str(site)).communicate(timeout=300)
        assert err == ""


def test_the_command_is_declared(unpacked):
    (points,) = unpacked.glob("*.dist-info/entry_points.txt")
    assert "diffobj = framework.commands.main:main" in points.read_text()


@pytest.mark.slow
def test_it_trains_and_writes_plugins_from_an_empty_folder(unpacked, tmp_path):
    code = """
import sys
import framework
from framework.commands.main import main

assert framework.__file__.startswith(sys.argv[1]), framework.__file__
for arguments in (["plugins"], ["new-plugin", "my_task"], sys.argv[2:]):
    try:
        main(arguments)
    except SystemExit as exit:
        assert not exit.code, (arguments, exit.code)
"""
    options = ["train", "experiment=javelin", "trainer.steps=20", "monitor.tensorboard=false"]
    process = python("-c", code, str(unpacked), *options, cwd=tmp_path, path=str(unpacked))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    folder = Path(out.splitlines()[-1])
    assert folder.parent == tmp_path / "outputs" / "javelin"
    assert result(folder)["metrics"]["angle_degrees"] > 21
    assert (tmp_path / "my_task" / "my_task" / "task.py").is_file()
