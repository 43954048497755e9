"""The Python of every page and of the front door's docstrings runs as it is written."""

import ast
import inspect
import re
import zipfile
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest
from PIL import Image

import framework
import framework.run
from framework.config.composition import compose
from framework.plugin import ROOT
from tests.pages import PAGES, snippets

# Shorter trainings, with the same code.
STEPS = re.compile(r"\bsteps=[\d_]+")
# Parts of a file of ours, which are read beside it.
EXCERPTS = {
    ROOT / "plugins/javelin/README.md": {
        "plugin = Plugin(": ROOT / "plugins/javelin/__init__.py",
        "def objective(": ROOT / "plugins/javelin/task.py",
    },
    ROOT / "plugins/teaching/README.md": {
        "posterior, prior =": ROOT / "plugins/teaching/autoencoder.py",
    },
}
PLUGIN_RUNS = {"detection": "detection", "faces": "faces", "games": "cartpole"}
# They compile a rasteriser, or compare an exported detector with itself.
SLOW = {ROOT / "plugins/sketching/README.md", ROOT / "plugins/detection/README.md"}
QUIET = ["trainer.steps=1", "monitor.tensorboard=false"]
# Trainings of a second, for pages whose plugin ships no trained run.
SMALL = {
    "sketch": ["task.strokes=4", "task.size=32", "input=photo.jpg"],
    "faces_recognition": [
        *("task.data.people=12", "task.data.pictures=4", "task.data.side=24"),
        *("task.data.test_people=6", "task.data.test_pictures=4"),
        *("task.network.widths=[8]", "task.network.blocks=0"),
    ],
}


def excerpt_of(page: Path, code: str) -> Path | None:
    """The file of which a snippet is a part; None: it stands by itself."""
    listed = EXCERPTS.get(page, {})
    return next((file for begins, file in listed.items() if code.startswith(begins)), None)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pages call photo.jpg and the like."""
    folder: Path = tmp_path_factory.mktemp("pictures")
    with Image.open(ROOT / "plugins/demo/examples/faces_1.png") as picture:
        small = picture.convert("RGB").resize((96, 96))
    for name in ("photo.jpg", "face.jpg", "a.jpg", "b.jpg"):
        small.save(folder / name)
    return folder


@pytest.fixture
def workplace(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the pages name: pictures, and by `with_run` a trained run."""
    for file in pictures.iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_run(code: str, page: Path) -> str:
    """The code with a trained run of the page's plugin in place of the one that it names."""
    if "RUN_FOLDER" not in code and "<time>" not in code:
        return code
    if packed := PLUGIN_RUNS.get(page.parent.name):
        with zipfile.ZipFile(ROOT / f"plugins/demo/runs/{packed}.zip") as archive:
            archive.extractall("run")
    for experiment, options in SMALL.items():
        if f"{experiment}/<time>" in code or (experiment == "sketch" and not packed):
            framework.train(experiment, overrides=[*options, *QUIET], folder=experiment)
    code = code.replace("outputs/faces_recognition/<time>", "faces_recognition")
    return re.sub(r"RUN_FOLDER|outputs/\w+/<time>", "run" if packed else "sketch", code)


def indented(documented: str) -> str:
    """The indented lines of a docstring."""
    lines = [line for line in documented.splitlines() if line.startswith("    ")]
    return dedent("\n".join(lines))


def execute(code: str, names: dict[str, object]) -> None:
    """Run a snippet, with shorter trainings."""
    exec(compile(STEPS.sub("steps=2", code), "snippet", "exec"), names)


# A page may show what a path leaves out, which the estimate warns of.
@pytest.mark.filterwarnings("ignore:a cost jumps in draw")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if page in SLOW else ())
        for page in PAGES
        if snippets(page)
    ],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_a_pages_python_runs(page: Path, workplace: Path):
    names: dict[str, object] = {}
    for code in snippets(page):
        if "onnxruntime" in code and find_spec("onnxruntime") is None:
            continue
        if excerpt_of(page, code) is None and "policy.pt2" not in code:
            execute(with_run(code, page), names)


@pytest.mark.parametrize("page", EXCERPTS, ids=lambda page: page.parent.name)
def test_what_a_page_shows_of_a_file_stands_there(page: Path):
    shown = [(code, file) for code in snippets(page) if (file := excerpt_of(page, code))]
    assert len(shown) == len(EXCERPTS[page])
    for code, file in shown:
        there = {ast.dump(node) for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))}
        for statement in ast.parse(code).body:
            assert ast.dump(statement) in there, ast.unparse(statement)


def test_the_architecture_shows_an_estimator_and_a_task():
    architecture = "\n".join(snippets(ROOT / "docs" / "architecture.md"))
    assert "class Antithetic(Estimator)" in architecture
    assert "class Aim(Task)" in architecture


def test_the_estimator_of_the_architecture_is_right():
    names: dict[str, object] = {}
    code = snippets(ROOT / "docs" / "architecture.md")[0]
    execute(code.replace("samples=64", "samples=20_000"), names)
    mean, estimate = names["mean"], names["estimate"]
    # E z^2 = mean^2 + 1, with slope 4 at 2; the estimate is the slope times the squared perturbation.
    assert isinstance(estimate, framework.Estimate)
    assert estimate.value == pytest.approx(5, abs=0.5)
    assert mean.grad > 0  # type: ignore[attr-defined]


def test_the_front_doors_first_docstring_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    first, second, third = indented(framework.run.__doc__ or "").strip().splitlines()
    names: dict[str, object] = {"framework": framework}
    execute(first, names)
    execute(second.replace("outputs/cartpole/<time>", str(names["run"].folder)), names)  # type: ignore[attr-defined]
    execute(third, names)


def test_calls_in_the_front_doors_docstrings_are_valid():
    """Such as `compose("experiment=javelin", "seed=1")`: the functions exist, and the settings compose."""
    tree = ast.parse(inspect.getsource(framework.run))
    documented = [
        ast.get_docstring(n) or "" for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)
    ]
    calls = re.findall(r"`(\w+)\((\".*?\")\)`", "\n".join(documented))
    assert calls
    for name, arguments in calls:
        assert name in framework.__all__
        compose(ast.literal_eval(f"[{arguments}]"))
