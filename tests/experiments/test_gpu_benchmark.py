"""The benchmark for a GPU runs here, too: the same code at a tiny size, which writes no results."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from experiments.benchmarks.gpu import __main__ as command
from experiments.benchmarks.gpu import agreement, results
from experiments.benchmarks.gpu.figures import TINY, Figure, Machine

# Those without a training.
QUICK = ("agreement", "stepping", "raster", "estimators")


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Where results would be written; the machine has no GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(results, "PAGE", tmp_path / "RESULTS.md")
    return tmp_path / "RESULTS.md"


@pytest.mark.slow
def test_it_runs_on_the_cpu_and_writes_nothing(page, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gpu", *QUICK])
    command.main()
    out = capsys.readouterr().out
    assert out.startswith("no GPU: the CPU, at a tiny size\n")
    assert out.count("reaches at most 0.0001") == 7
    for line in ("cart_pole, 8 games stepped", "8 curves at 32 px", "rloo, 3 draws x 64"):
        assert line in out
    assert not page.exists()


@pytest.mark.slow
@pytest.mark.parametrize("part", sorted(set(command.PARTS) - set(QUICK)))
def test_a_part_with_trainings_runs_on_the_cpu(page, monkeypatch, capsys, part):
    monkeypatch.setattr("sys.argv", ["gpu", part])
    command.main()
    assert len(capsys.readouterr().out.splitlines()) > 2
    assert not page.exists()


def test_a_part_that_is_not_known_is_refused_in_one_line(page, monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu", "stepin"])
    with pytest.raises(SystemExit, match=r"^'stepin': expected agreement, waits, stepping, "):
        command.main()


def test_a_device_that_disagrees_is_an_error(page, monkeypatch):
    wrong = [Figure("difference from the CPU: all", 1e-3, "", 1e-4, most=True)]
    monkeypatch.setitem(command.PARTS, "agreement", lambda machine: iter(wrong))
    monkeypatch.setattr("sys.argv", ["gpu", "agreement"])
    with pytest.raises(SystemExit, match="the device disagrees with the CPU"):
        command.main()


def test_a_part_that_fails_says_so_in_one_line_and_the_others_go_on(page, monkeypatch, capsys):
    def fails(machine: Machine) -> Iterator[Figure]:
        yield Figure("before", 1.0, "s")
        raise RuntimeError("CUDA error: out of memory\nand more")

    monkeypatch.setitem(command.PARTS, "stepping", fails)
    monkeypatch.setitem(command.PARTS, "raster", lambda machine: iter([Figure("after", 2.0, "s")]))
    monkeypatch.setattr("sys.argv", ["gpu", "stepping", "raster"])
    with pytest.raises(SystemExit, match=r"^failed: stepping$"):
        command.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["before", "stepping:", "after"]
    assert lines[2] == "stepping: RuntimeError: CUDA error: out of memory"


def test_no_part_begins_when_the_time_is_spent(page, monkeypatch, capsys):
    monkeypatch.setattr(command, "LIMIT", -1.0)
    monkeypatch.setattr("sys.argv", ["gpu", "raster"])
    with pytest.raises(SystemExit, match=r"^failed: raster$"):
        command.main()
    assert "raster: not begun after" in capsys.readouterr().out


def test_a_difference_that_is_no_number_is_a_disagreement(monkeypatch):
    def found(device: torch.device) -> list[torch.Tensor]:
        second = float("nan") if device.type == "meta" else 1.0
        return [torch.ones(2), torch.tensor([1.0, second])]

    monkeypatch.setattr(agreement, "CHECKS", {"one": found})
    (figure,) = agreement.agreement(Machine(torch.device("meta"), TINY))
    assert figure.reached is False


@pytest.mark.parametrize(
    ("value", "bar", "most", "reached", "words"),
    [
        (3e8, 2e8, False, True, "reaches at least 200,000,000"),
        (1e8, 2e8, False, False, "MISSES at least 200,000,000"),
        (0.5, 1.0, True, True, "reaches at most 1"),
        (1.5, 1.0, True, False, "MISSES at most 1"),
        (float("nan"), 1.0, True, False, "MISSES at most 1"),
        (1.0, None, False, None, ""),
    ],
)
def test_a_figure_says_whether_it_reaches_its_bar(value, bar, most, reached, words):
    figure = Figure("steps", value, "steps/s", bar, most)
    assert figure.reached is reached
    assert figure.verdict == words


def test_the_page_names_card_commit_and_command(page, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A card")
    machine = Machine(torch.device("cuda"))
    found = {"stepping": [Figure("cart_pole, 8 games stepped", 3e8, "steps/s", 2e8)]}
    assert results.write(machine, found, 12.0) == page
    text = page.read_text()
    assert text.startswith(f"# On a GPU\n\nA card, torch {torch.__version__}, commit ")
    assert "    python -m experiments.benchmarks.gpu stepping\n" in text
    results.write(machine, found, 12.0, {"stepping": "RuntimeError: lost"})
    assert page.read_text().endswith("\n\nFailed: RuntimeError: lost\n")
    row = "| cart_pole, 8 games stepped | 300,000,000 | steps/s | reaches at least 200,000,000 |"
    assert row in text
    assert results.write(Machine(torch.device("cpu"), TINY), found, 12.0) is None
