"""The commands on the pages: each is what the real command line takes, and the trainings run.

Every block of code on a page is Python (run by `test_snippets`), commands, or nothing to be run.
"""

import ast
import importlib.util
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from framework.commands.compare import items
from framework.commands.new_plugin import check_name
from framework.commands.script import script
from framework.commands.tune import KNOWN
from framework.config.composition import compose
from framework.config.hydra_line import HydraLine
from framework.config.validation import check_components, validate
from framework.plugin import ROOT, registry
from framework.sweeping import check
from framework.tuning.space import parsed
from framework.tuning.tune import choice_of
from tests.pages import PAGES, blocks, commands
from tests.runs import Diffobj, Outcome, python

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
# What stands for something of the reader's.
PLACEHOLDER = re.compile(
    r"[A-Z_]{2,}|=cells$|<time>|\.\.\.|mypackage|\w+\.(jpg|svg|json)|photo\w*/"
)
# A plugin of the reader's, which `diffobj new-plugin` or she writes.
READERS_OWN = {"my_task", "my_pictures", "my_package", "NAME", "E"}
# These begin with a run, which a reader has and this test has not.
OF_A_RUN = {"evaluate", "predict", "export", "calibrate", "verify", "enrol", "identify", "cluster"}


LAUNCHER = ("hydra/launcher=", "hydra.launcher.", "+hydra.launcher.")


def distinct(*first: str) -> list[list[str]]:
    """The commands of all pages that begin so, each once."""
    found = {tuple(words): words for page in PAGES for words in commands(page)}
    return [words for words in found.values() if tuple(words[: len(first)]) == first]


def readers_own(words: list[str]) -> bool:
    return any(word.rpartition("=")[2].strip() in READERS_OWN for word in words)


def settings_told(verb: str) -> list[list[str]]:
    """The overrides of a verb's commands, resumes and questions for help left out."""
    found = []
    for words in distinct("diffobj", verb):
        # A launcher may not be installed here.
        told = [w for w in words[2:] if w != "-m" and not w.startswith(LAUNCHER)]
        asked = {"--help", "--cfg"} & set(told) or any(
            w.startswith(("resume=", "runs=")) for w in told
        )
        if told and not asked and not readers_own(told):
            found.append(told)
    return found


def choices(told: list[str]) -> list[list[str]]:
    """What the jobs of a sweep are told: every choice once, beside the first of all others."""
    split = [re.findall(r"[^,\[{'\"]+(?=,|$)", w.partition("=")[2]) for w in told]
    listed = [
        [f"{w.partition('=')[0]}={value}" for value in values]
        if len(values) > 1 and not re.search(r"[\[{'\"]", w)
        else [w]
        for w, values in zip(told, split, strict=True)
    ]
    first = [each[0] for each in listed]
    others = [
        [*first[:at], value, *first[at + 1 :]]
        for at, each in enumerate(listed)
        for value in each[1:]
    ]
    return [first, *others]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_is_python_commands_or_nothing_to_be_run(page: Path):
    assert [str(block) for block in blocks(page) if not block.kind] == []


def test_the_pages_are_read():
    assert len(distinct("diffobj", "train")) > 60
    assert ["make", "train"] in distinct("make")
    assert ["diffobj", "train", "experiment=sketch", "input=photo.jpg"] in distinct("diffobj")


@pytest.mark.parametrize("told", settings_told("train"), ids=" ".join)
def test_a_training_composes(told):
    for one in choices(told):
        line = HydraLine.parse(one)
        check_components(validate(compose(line.overrides).config))


@pytest.mark.parametrize("told", settings_told("compare"), ids=" ".join)
def test_a_comparison_composes(told):
    (estimators,) = [w for w in told if w.startswith("estimators=")]
    for name in items(estimators.partition("=")[2]):
        rest = [w for w in told if w is not estimators]
        check_components(validate(compose([*rest, f"estimator={name}"]).config))


@pytest.mark.parametrize("told", settings_told("tune"), ids=" ".join)
def test_what_a_study_searches_is_read_and_composes(told):
    space, fixed = parsed([w for w in told if w.partition("=")[0] not in KNOWN])
    check([(text, [text.partition("=")[2]]) for text in fixed] + [choice_of(d) for d in space])


@pytest.mark.parametrize(
    "words", [w for v in sorted(OF_A_RUN) for w in distinct("diffobj", v)], ids=" ".join
)
def test_a_command_on_a_run_misses_nothing_but_the_readers_own_files(
    words, diffobj: Diffobj, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    outcome = diffobj(*words[1:])
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    missing = r"there is no (run|such file)|is no run folder|'run=\.\.\.' is missing|which run"
    assert re.search(missing, outcome.err), outcome.err


@pytest.mark.parametrize("words", distinct("diffobj"), ids=" ".join)
def test_a_verb_exists_and_the_small_ones_take_their_arguments(words, diffobj: Diffobj):
    verbs = registry().names("commands")
    if words[1] == "--help" or words == ["diffobj", "stitch"]:
        return
    assert words[1] in verbs
    told = words[2:]
    match words[1]:
        case "script":
            # Up to where its output goes.
            told = told[: told.index(">")]
            assert script(overrides=told)
        case "new-plugin" if told:
            check_name(told[0])
            assert all(w == "--data" or w.startswith("folder=") for w in told[1:])
        case "demo" | "runs" | "plugins":
            assert all(w.partition("=")[0] in {"port", "in", "format"} for w in told)
        case "check" if told and not readers_own(told) and not PLACEHOLDER.search(told[0]):
            if ".py:" not in told[0]:
                changed = [w if "=" in w else f"task={w}" for w in told]
                head = ["task=game"] if told[0].startswith(("environment=", "games=")) else []
                # The task's options, and in how many parts a rollout is learned from.
                own = [w for w in changed if not (head and w.startswith("minibatches="))]
                body = [f"task.{w}" if head else w for w in own]
                validate(compose([*head, *body]).config)


@pytest.mark.parametrize("words", distinct("make"), ids=" ".join)
def test_a_target_and_its_extras_exist(words):
    assert re.search(rf"^{words[1]}:", MAKEFILE, re.M)
    for word in words[2:]:
        key, _, value = word.partition("=")
        assert re.search(rf"^{key} \?=", MAKEFILE, re.M), key
        if key == "EXTRAS":
            for extra in value.split(","):
                assert re.search(rf"^{extra} = \[", PYPROJECT, re.M), extra
        if key == "EXPERIMENT":
            validate(compose([f"experiment={value}"]).config)
        if key == "ARGS":
            validate(compose(shlex.split(value)).config)


@pytest.mark.parametrize("words", distinct("python"), ids=" ".join)
def test_a_module_that_is_run_exists(words):
    if words[1] == "-c":
        imported = [n for n in ast.walk(ast.parse(words[2])) if isinstance(n, ast.ImportFrom)]
        assert all(hasattr(import_module(n.module or ""), n.names[0].name) for n in imported)
        return
    assert words[1] == "-m"
    assert importlib.util.find_spec(words[2]) is not None


# A few steps, and little else.
SHORT = ["trainer.steps=2", "trainer.quality.every=0", "monitor.tensorboard=false"]
SHORT_TASKS = {
    "game": ["task.evaluation_episodes=1", "task.video_frames=2"],
    "sketch": ["task.strokes=4", "task.size=32"],
    "stochastic_sketch": ["task.sketch.strokes=4", "task.sketch.size=32"],
}


def runnable() -> list[list[str]]:
    """The trainings on the pages that need no files of the reader's and no other run."""
    told = [one for words in settings_told("train") for one in choices(words)[:1]]
    return [words for words in told if not any(PLACEHOLDER.search(w) or ".py:" in w for w in words)]


@pytest.mark.slow
@pytest.mark.parametrize("told", runnable(), ids=" ".join)
def test_a_training_runs(told, diffobj: Diffobj, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = validate(compose(told).config).task.name
    kept = [w for w in told if not w.startswith(("trainer.steps=", "hydra."))]
    words = ["train", *kept, *SHORT, *SHORT_TASKS.get(task, [])]
    if any(w.startswith("trainer.ranks=") for w in kept):
        process = python("-m", "framework.commands.main", *words, cwd=tmp_path)
        out, err = process.communicate(timeout=600)
        outcome = Outcome(process.returncode, out, err)
    else:
        outcome = diffobj(*words)
    if "make install EXTRAS=" in outcome.err:
        pytest.skip(outcome.err)
    assert outcome.status == 0, outcome.err
    assert (Path(outcome.out.splitlines()[-1]) / "result.json").is_file()
