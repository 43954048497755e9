"""People in a folder and trained runs that several files of tests only read."""

import shutil
from pathlib import Path

import pytest

from tests.plugins.faces.stand_in import write_stand_in
from tests.plugins.faces.tasks.small_runs import SMALL, run


@pytest.fixture(scope="package")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_in(tmp_path_factory.mktemp("photographs") / "people", people=8, pictures=5)


@pytest.fixture(scope="package")
def recognition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("runs") / "recognition", *SMALL)


@pytest.fixture
def own_copy(recognition: Path, tmp_path: Path) -> Path:
    """The run of recognition, to be written into."""
    return shutil.copytree(recognition, tmp_path / "recognition")


@pytest.fixture(scope="package")
def own_photographs(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on photographs, which are taken away afterwards."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(people, folder / "people")
    run(folder / "run", *SMALL, f"task.data.root={folder / 'people'}")
    shutil.rmtree(folder / "people")
    return folder / "run"
