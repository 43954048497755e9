"""The reading budget: what is long, what is full, and what one optimiser step goes through."""

import sys

import pytest

from experiments.reading import full_folders, longest_files, report, walk_step
from framework.plugin import ROOT


@pytest.fixture(scope="module")
def walk():
    return walk_step()


@pytest.fixture
def project(tmp_path):
    """A project of 14 files in one folder, number k with k lines, and one in another."""
    for k in range(14):
        file = tmp_path / "framework" / "many" / f"number_{k}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x\n" * k)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "__init__.py").write_text("x\n" * 99)
    return tmp_path


def test_the_longest_files_come_first(project):
    assert longest_files(project, 3) == [
        (99, "plugins/__init__.py"),
        (13, "framework/many/number_13.py"),
        (12, "framework/many/number_12.py"),
    ]


def test_full_folders_are_those_of_more_than_twelve_modules(project):
    assert full_folders(project) == [(14, "framework/many")]
    (project / "framework" / "many" / "number_13.py").rename(project / "framework" / "number_13.py")
    (project / "framework" / "many" / "number_12.py").rename(project / "framework" / "number_12.py")
    assert full_folders(project) == []


def test_one_step_goes_from_the_loop_through_the_task_to_the_surrogate(walk):
    names = [function for _, function in walk.functions]
    assert len(names) == len(set(walk.functions))
    through = ["Trainer.accumulate", "Program.run", "Javelin.objective", "LeaveOneOut.__call__"]
    assert sorted(through, key=names.index) == through
    assert "Trainer.optimizer_step" in names
    assert set(walk.files) == {file for file, _ in walk.functions}
    assert not {"make_components", "Trainer.save", "Evaluation.metrics"} & set(names)
    assert sys.getprofile() is None


def test_the_report_counts_files_and_functions(walk):
    text = report(ROOT, walk)
    assert f"one step of rloo: {len(walk.files)} files, {len(walk.functions)} functions\n" in text
    assert "  plugins/javelin/task.py: Javelin.objective\n" in text
