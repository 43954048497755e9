"""A stranger's run folder: links and pipes in it are not followed, files without bounds are not read."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import framework
from framework.commands import train
from framework.errors import UserError
from framework.training.folders.untrusted import read_bytes, read_text, refuse_links
from tests.runs import Diffobj

SHORT = (
    "experiment=javelin",
    "trainer.steps=2",
    "monitor.tensorboard=false",
    "monitor.progress=none",
)
NAMES = (
    ".lock", "config.yaml", "manifest.json", "metrics.jsonl", "result.json", "log.txt", "checkpoints", "media",
    "checkpoints/step_000000002.pt", "checkpoints/step_000000002.json", "checkpoints/best_000000002.pt", "events.out.x",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    train.run([*SHORT, f"hydra.run.dir={folder}"])
    return folder


@pytest.fixture
def run_folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", NAMES)
def test_a_link_in_a_run_folder_is_followed_by_no_command(run_folder, diffobj: Diffobj, name):
    place, other = run_folder / name, run_folder.parent / "elsewhere"
    if place.exists():
        place.rename(other)
    else:
        other.write_text("kept")
    place.symlink_to(other)
    before = contents(run_folder.parent)
    new = (*SHORT, f"hydra.run.dir={run_folder}")
    for command in (
        ("train", f"resume={run_folder}", "trainer.steps=4"),
        ("evaluate", f"run={run_folder}"),
        ("predict", f"run={run_folder}"),
    ):
        outcome = diffobj(*command)
        assert outcome.status == 2
        assert outcome.err == f"diffobj: {place} is a symbolic link; a run folder holds none\n"
    assert diffobj("train", *new).status == 2
    with pytest.raises(UserError, match="is a symbolic link"):
        framework.load(run_folder)
    assert contents(run_folder.parent) == before


def test_a_link_is_followed_by_no_start_either(tmp_path, diffobj: Diffobj):
    victim, folder = tmp_path / "victim", tmp_path / "run"
    victim.write_text("kept")
    folder.mkdir()
    (folder / ".lock").symlink_to(victim)
    outcome = diffobj("train", *SHORT, f"hydra.run.dir={folder}")
    assert outcome.status == 2
    assert outcome.err == f"diffobj: {folder}/.lock is a symbolic link; a run folder holds none\n"
    assert victim.read_text() == "kept"


def test_a_file_with_another_name_elsewhere_is_left_as_it_is(
    run_folder, tmp_path, diffobj: Diffobj
):
    """As of a copy by `cp -al`: each goes on by itself."""
    names = (".lock", "config.yaml", "manifest.jsonl", "metrics.jsonl", "log.txt", "result.json")
    before = {name: (run_folder / name).read_bytes() for name in names}
    (tmp_path / "copy").mkdir()
    for name in names:
        (tmp_path / "copy" / name).hardlink_to(run_folder / name)
    outcome = diffobj("train", f"resume={run_folder}", "trainer.steps=4")
    assert outcome.status == 0, outcome.err
    assert {name: (tmp_path / "copy" / name).read_bytes() for name in names} == before
    for name in ("manifest.jsonl", "log.txt"):
        now = (run_folder / name).read_bytes()
        assert now.startswith(before[name])
        assert len(now) > len(before[name])


@pytest.mark.parametrize("name", ["config.yaml", ".lock", "metrics.jsonl", "log.txt"])
def test_a_pipe_does_not_block(run_folder, diffobj: Diffobj, name):
    (run_folder / name).unlink()
    os.mkfifo(run_folder / name)
    outcome = diffobj("train", f"resume={run_folder}", "trainer.steps=4")
    assert outcome.status == 2
    assert outcome.err == (
        f"diffobj: {run_folder / name} is no file; a run folder holds files and folders\n"
    )


def test_the_folder_itself_may_be_a_link(run_folder, diffobj: Diffobj):
    link = run_folder.parent / "link"
    link.symlink_to(run_folder)
    assert diffobj("train", f"resume={link}", "trainer.steps=3").status == 0
    refuse_links(link)


def large(text: str) -> str:
    return text + "".join(f"k{i}: {i}\n" for i in range(250_000))


def multiplied(text: str) -> str:
    return text + "x0: aaaaaaaaaa\n" + "".join(
        f"x{i}: '{f'${{x{i - 1}}}' * 10}'\n" for i in range(1, 9)
    )  # fmt: skip


EXCESSIVE: dict[str, tuple[Callable[[str], str], str]] = {
    "3 MB": (large, "config.yaml: more than 65,536 bytes"),
    "many keys": (lambda text: text + "".join(f"k{i}: 1\n" for i in range(6_000)), "5,000 values"),
    "interpolations eight levels deep": (multiplied, "more than 1,000,000 characters"),
    "a circle": (lambda text: text + "a: ${b}\nb: ${a}\n", "refers to itself"),
    "brackets": (lambda text: "a: " + "[" * 50_000, "levels of nesting"),
    "mappings": (lambda text: "a: " + "{a: " * 10_000, "levels of nesting"),
    "an alias": (lambda text: text + "a: &a 1\nb: *a\n", "YAML aliases are refused"),
    "a merge": (lambda text: text + "a: &a {b: 1}\nc:\n  <<: *a\n", "YAML aliases are refused"),
    "no UTF-8": (lambda text: text + "a: \udc80\n", "can't decode byte"),
    "a NUL": (lambda text: text + "a: \0\n", "config.yaml: "),
    "a lone key": (lambda text: "? \n", "config.yaml: "),
    "a date": (lambda text: text + "a: 2020-13-45\n", "config.yaml: "),
    "a half interpolation": (lambda text: text + "a: ${b\n", ""),
}  # fmt: skip


@pytest.mark.one_in(3)
@pytest.mark.parametrize("case", EXCESSIVE)
def test_an_excessive_configuration_is_one_line_at_once(run_folder, diffobj: Diffobj, case):
    change, said = EXCESSIVE[case]
    path = run_folder / "config.yaml"
    path.write_bytes(change(path.read_text()).encode("utf-8", "surrogateescape"))
    for command in (("train", f"resume={run_folder}"), ("evaluate", f"run={run_folder}")):
        started = time.process_time()
        outcome = diffobj(*command)
        assert time.process_time() - started < 5
        assert outcome.status == 2
        assert said in outcome.err
        assert outcome.err.count("\n") == 1
        assert len(outcome.err) < 500


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("é" * 5)
    assert read_text(path, 10) == "ééééé"
    with pytest.raises(UserError, match=r"a.json: more than 9 bytes"):
        read_text(path, 9)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(UserError, match="link: Too many levels of symbolic links"):
        read_text(tmp_path / "link", 10)
    with pytest.raises(UserError, match="is no file"):
        read_text(tmp_path, 10)


def test_a_limit_beyond_the_memory_takes_no_room(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    assert read_bytes(tmp_path / "file", 2**50) == b"x" * 3_000_000
    assert read_bytes(tmp_path / "file", 3_000_000) == b"x" * 3_000_000
    with pytest.raises(UserError, match="more than 2,999,999 bytes"):
        read_bytes(tmp_path / "file", 2_999_999)
    # Its size is said to be 0.
    assert read_bytes(Path("/proc/self/status"), 10**6).startswith(b"Name:")
