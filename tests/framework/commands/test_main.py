"""The command `diffobj`: its verbs, its help and its statuses."""

import sys

import pytest

from framework.commands.main import commands, keyed, say_what_starts
from framework.config.composition import config_options
from framework.errors import UserError
from tests.runs import Diffobj, python

VERBS = [owners[0].name for owners in commands()]


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_help_names_every_verb_with_a_line(arguments, diffobj: Diffobj):
    outcome = diffobj(*arguments)
    assert outcome.status == 0
    for verb in VERBS:
        (line,) = [li for li in outcome.out.splitlines() if li.startswith(f"  {verb} ")]
        assert len(line.split()) > 3


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "train"])
def test_each_verb_has_help_of_its_own(verb, diffobj: Diffobj):
    outcome = diffobj(verb, "--help")
    assert outcome.status == 0
    assert outcome.out.startswith(f"diffobj {verb}: ")


def test_trains_help_lists_groups_options_and_defaults(diffobj: Diffobj):
    out = diffobj("train", "--help").out
    for group in ("experiment", "task", "estimator", "optimizer", "scheduler"):
        assert f"{group}: {', '.join(sorted(config_options()[group]))}\n" in out
    assert "keep_checkpoints: 2" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("trian",), "unknown command 'trian'; did you mean 'train'?"),
        (("xyz",), "unknown command 'xyz'; choices: "),
        (("evaluate",), "which run? diffobj evaluate run=RUN_FOLDER"),
        (("evaluate", "ran=x"), "unknown key 'ran'; did you mean 'run'?"),
        (("evaluate", "x"), "'x': expected key=value with a key of run, checkpoint, seed"),
        (("evaluate", "run=x", "checkpoint=newest"), "checkpoint = 'newest': expected best or last"),
        (("evaluate", "run=x", "seed=-1"), "seed = '-1': expected a whole number, 0 or more"),
        (("plugins", "all"), "'all': no argument is expected"),
        (("new-plugin",), "which name? diffobj new-plugin my_task"),
        (("check", "task=javelyn"), "unknown task 'javelyn'; did you mean 'javelin'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_status_2(arguments, said, diffobj: Diffobj):
    outcome = diffobj(*arguments)
    assert outcome.status == 2
    assert outcome.err.startswith(f"diffobj: {said}")
    assert outcome.err.count("\n") == 1


def test_keys_and_values_are_parted_at_the_first_sign():
    assert keyed(["run=a=b", "seed="], ("run", "seed")) == {"run": "a=b", "seed": ""}
    with pytest.raises(UserError, match="unknown key 'x'"):
        keyed(["x=1"], ("run",))


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    process = python("-m", "framework.commands.main", "plugins", cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 128 + 13
    assert err == ""


def test_a_plugin_brings_commands_of_its_own(toy, diffobj: Diffobj):
    assert diffobj("speak", "two", "words") == (2, "two words\n", "")
    assert "  speak        say what one was told: diffobj speak WORDS\n" in diffobj("--help").out
    assert diffobj("speak", "--help").out.endswith("\n\nA plugin's own command.\n")
    assert diffobj("speek").err == "diffobj: unknown command 'speek'; did you mean 'speak'?\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("train", "experiment=javelin", "trainer.steps=5"),
            "diffobj train experiment=javelin: reading the configuration, loading torch\n",
        ),
        (("train", "-m", "seed=0,1"), "diffobj train: reading the configuration, loading torch\n"),
        (("train", "monitor.progress=none"), ""),
        (("train", "--cfg", "job"), ""),
        (("evaluate", "run=x"), ""),
    ],
)  # fmt: skip
def test_a_training_says_at_once_what_takes_seconds_unless_it_is_to_print_nothing(
    arguments, line, capsys, monkeypatch
):
    say_what_starts(arguments[0], arguments[1:])
    assert capsys.readouterr().out == "", "torch is loaded already: nothing takes seconds"
    monkeypatch.delitem(sys.modules, "torch")
    say_what_starts(arguments[0], arguments[1:])
    assert capsys.readouterr().out == line
