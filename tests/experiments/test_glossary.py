"""docs/glossary.md lists every option and every metric there is, and no other, each with what it means."""

import inspect
import re
from collections.abc import Iterator
from typing import get_args

import pytest

import framework
from experiments.glossary.comments import comments, title
from experiments.glossary.metrics import core_metrics, task_metrics, unexplained
from experiments.glossary.options import arguments, components, entries
from experiments.glossary.page import BEGIN, GLOSSARY, pages
from framework.config.schema import Section, Settings
from framework.config.validation import COMPONENT_GROUPS, options_schema


def keys(schema, prefix: str) -> Iterator[str]:
    """The dotted keys of a schema, sections included."""
    for name, info in schema.model_fields.items():
        yield f"{prefix}.{name}".lstrip(".")
        for held in (info.annotation, *get_args(info.annotation)):
            if inspect.isclass(held) and issubclass(held, Section):
                yield from keys(held, f"{prefix}.{name}".lstrip("."))


def listed() -> dict[str, list[str]]:
    """The first column of the page's tables by heading."""
    generated = GLOSSARY.read_text(encoding="utf-8").partition(BEGIN)[2]
    chapters = re.split(r"^### ", generated, flags=re.MULTILINE)[1:]
    return {
        chapter.partition("\n")[0]: re.findall(r"^\| `([^`]*)` \|", chapter, re.MULTILINE)
        for chapter in chapters
    }


def test_the_pages_are_up_to_date():
    for page, expected in pages().items():
        assert page.read_text(encoding="utf-8") == expected, "run python -m experiments.glossary"


@pytest.mark.parametrize("key", COMPONENT_GROUPS)
def test_the_page_lists_the_options_of_every_component_and_no_other(key):
    page = listed()
    for component in components(COMPONENT_GROUPS[key]):
        schema = options_schema(component.load())
        assert page[f"{key}={component.name}"] == list(keys(schema, key))


def test_the_page_lists_the_cores_own_options():
    page = listed()
    core = [*page["The top level"], *page["trainer"], *page["monitor"]]
    chosen = {*COMPONENT_GROUPS, "trainer", "monitor"}
    assert sorted(core) == sorted(set(keys(Settings, "")) - chosen)


def test_every_option_is_explained():
    silent = [f"{e.heading}: {o.key}" for e in entries() for o in e.options if not o.meaning]
    assert silent == []


def test_every_component_has_a_summary():
    assert [entry.heading for entry in entries() if not entry.summary] == []


def test_a_comment_belongs_to_the_key_beside_above_or_before_it(tmp_path):
    file = tmp_path / "some.yaml"
    file.write_text(
        "# What it is.\n"
        "name: some\n"
        "size: 3 # how large\n"
        "  # in metres\n"
        "# of the corners\n"
        'colour: "#ff0000" # red\n'
        "plain: 1\n"
        "inner: # a section\n"
        "  # above\n"
        "  deep: [1, 2] # beside\n"
        "  silent: null\n"
    )
    assert title(file) == "What it is."
    assert comments(file) == {
        "name": "",
        "size": "how large in metres",
        "colour": "of the corners red",
        "plain": "",
        "inner": "a section",
        "inner.deep": "above beside",
        "inner.silent": "",
    }


def test_a_docstring_explains_arguments_a_class_its_bases_too():
    class Base:
        """A base.

        Args:
            scale: how large,
                in metres.
            low, high: the ends.
        """

    class Derived(Base):
        """Derived.

        Args:
            low: the lower end.

        Raises:
            UserError: never.
        """

    assert arguments(Derived) == {
        "scale": "how large, in metres",
        "low": "the lower end",
        "high": "the ends",
    }


def test_a_name_with_a_placeholder_explains_many():
    assert unexplained(["AP/cat", "AP", "AP/"], ["AP/<class>", "AP"]) == ["AP/"]


# One short run for each estimator that logs something of its own.
RUNS = [
    ("rebar_toy", "rebar", ()),
    ("rebar_toy", "gumbel", ("estimator.sites={b: {name: gumbel, temperature: 0.3}}",)),
    ("rebar_toy", "relax", ("trainer.quality.every=2", "trainer.quality.repeats=4")),
    ("javelin", "alpha_order", ("trainer.evaluate_every=1",)),
    ("cartpole", "ppo", ("task.games=4", "task.rollout_steps=4", "estimator.target_kl=0.01")),
    ("cartpole", "vtrace", ("task.games=4", "task.rollout_steps=4")),
    ("cartpole", "upgo", ("task.games=4", "task.rollout_steps=4")),
    ("cartpole", "a2c", ("task.games=4", "task.rollout_steps=4")),
]


@pytest.fixture(scope="module")
def tags(tmp_path_factory) -> dict[str, set[str]]:
    """The tags that short runs log, by experiment."""
    found: dict[str, set[str]] = {}
    for experiment, estimator, overrides in RUNS:
        quick = ["trainer.log_every=1", "monitor.tensorboard=false", *overrides]
        if experiment == "cartpole":
            quick += ["task.evaluation_episodes=2", "task.video_frames=2"]
        folder = tmp_path_factory.mktemp(estimator) / "run"
        run = framework.train(
            experiment, estimator=estimator, steps=2, overrides=quick, folder=folder
        )
        logged = {tag for record in run.records for tag in record} - {"step", "seconds"}
        found[experiment] = found.get(experiment, set()) | logged
    return found


def test_every_tag_of_a_run_is_explained(tags):
    for experiment, logged in tags.items():
        task = framework.compose(f"experiment={experiment}").task.name
        described = dict(task_metrics())[task]
        assert unexplained(logged, [*core_metrics(), *described]) == []


def test_the_core_logs_every_tag_that_is_explained(tags):
    logged = set().union(*tags.values())
    never = [name for name in core_metrics() if all(unexplained([tag], [name]) for tag in logged)]
    # Only where a gradient is not finite.
    assert never == ["gradient/skipped_steps"]
