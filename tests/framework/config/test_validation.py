"""Configuration: everything that ships is valid, and every mistake is one line, status 2, and nothing left behind."""

import os
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from framework import builtin
from framework.commands import train
from framework.config.composition import compose, config_options, lenient_overrides
from framework.config.explanation import dotted
from framework.config.validation import (
    check_components,
    check_options,
    options_schema,
    refuse_targets,
    validate,
)
from framework.errors import UserError, suggestion
from framework.plugin import registry
from tests.runs import Diffobj, files, forget_plugins, install, result

OPTIONS = sorted((group, option) for group, found in config_options().items() for option in found)
SHORT = ("trainer.steps=2", "monitor.tensorboard=false", "monitor.progress=none")

# --- what ships -----------------------------------------------------------------------------------------------------


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_its_components_take_it(group, option):
    chosen = [f"{group}={option}"]
    # Named after the experiment and the estimator that it suits.
    if group == "experiment_estimator":
        estimators = registry().names("estimators")
        estimator = max((e for e in estimators if option.endswith(f"_{e}")), key=len)
        experiment = option.removesuffix(f"_{estimator}")
        chosen = [f"experiment={experiment}", f"estimator={estimator}"]
    settings = validate(compose(chosen).config)
    check_components(settings)
    if group == "experiment":
        assert settings.experiment == option


def test_no_option_has_two_owners():
    twice = {
        f"{group}={option}": paths
        for group, found in config_options().items()
        for option, paths in found.items()
        if len(paths) > 1
    }
    assert twice == {}


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_says_in_a_comment_what_it_is(group, option):
    (path,) = config_options()[group][option]
    lines = path.read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("# ") and not line.startswith("# @") for line in lines[:3])


@pytest.mark.parametrize("group", ["estimators", "optimizers", "schedulers"])
def test_every_component_of_the_core_has_a_configuration_and_the_other_way_round(group):
    assert set(builtin.plugin.groups[group]) <= set(config_options()[group.removesuffix("s")])


@pytest.mark.one_in(3)
@pytest.mark.parametrize("estimator", registry().names("estimators"))
def test_every_estimator_can_be_chosen_for_an_experiment(estimator):
    settings = validate(compose(["experiment=javelin", f"estimator={estimator}"]).config)
    assert settings.estimator.name == estimator


# --- composing ------------------------------------------------------------------------------------------------------


def test_an_experiment_is_called_by_its_choice_else_by_its_task():
    assert validate(compose(["experiment=javelin"]).config).experiment == "javelin"
    assert validate(compose(["task=javelin"]).config).experiment == "javelin"
    assert validate(compose(["task=cartpole"]).config).experiment == "cartpole"
    assert validate(compose(["experiment=null", "task=javelin"]).config).experiment == "javelin"


def test_a_task_alone_starts_from_the_defaults_and_not_from_the_default_experiment():
    settings = validate(compose(["task=cartpole"]).config)
    assert settings.trainer.steps == 1000
    assert settings.optimizer.options["learning_rate"] == 1e-3


def test_the_command_line_wins_over_the_experiment():
    config = compose(["experiment=javelin", "trainer.steps=7", "optimizer=sgd"]).config
    settings = validate(config)
    assert settings.trainer.steps == 7
    assert settings.optimizer.name == "sgd"
    assert settings.optimizer.options["learning_rate"] == 0.03  # the experiment's own


def test_an_experiment_may_build_on_another():
    settings = validate(compose(["experiment=javelin_windy"]).config)
    assert settings.task.options["drag"] == 0.005
    assert settings.trainer.steps == 500


def test_the_run_folder_is_named_after_the_experiment_and_the_time():
    folder = compose(["experiment=javelin"]).run_folder
    assert folder.parts[:2] == ("outputs", "javelin")
    assert compose(["hydra.run.dir=some/where"]).run_folder == Path("some/where")
    assert compose(["hydra.run.dir='quoted'"]).run_folder == Path("quoted")
    assert compose(["experiment=javelin", "hydra.run.dir=x/${experiment}"]).run_folder == Path(
        "x/javelin"
    )


def test_overrides_are_made_lenient_overrides_and_groups_stay():
    assert lenient_overrides(["trainer.steps=5", "estimator=rloo"]) == [
        "++trainer.steps=5",
        "estimator=rloo",
    ]
    assert lenient_overrides(["task=javelin"]) == [
        "task=javelin",
        "~experiment",
        "experiment_estimator=none",
    ]
    assert lenient_overrides(["task=javelin", "experiment=javelin"]) == [
        "task=javelin",
        "experiment=javelin",
    ]


def test_an_option_that_its_configuration_does_not_mention_can_be_set():
    settings = validate(compose(["optimizer.beta1=0.5", "+optimizer.beta2=0.9", "++seed=3"]).config)
    assert settings.optimizer.options["beta1"] == 0.5
    assert settings.optimizer.options["beta2"] == 0.9
    assert settings.seed == 3


# --- mistakes -------------------------------------------------------------------------------------------------------

MISTAKES = {
    # of the issue
    "experiment=cartpole trainer.lr=oops": "unknown key 'trainer.lr'; did you mean 'optimizer.learning_rate'?",
    "experimnt=cartpole": "unknown key 'experimnt'; did you mean 'experiment'?",
    "task._target_=os.system": "'task._target_' is refused: choose a registered component by its name instead",
    "trainer.steps=-5": "trainer.steps = -5: expected greater than or equal to 1",
    "optimizer.learning_rate=.inf": "optimizer.learning_rate = '.inf': expected a valid number, ",
    # unknown
    "trainer.stepz=5": "unknown key 'trainer.stepz'; did you mean 'steps'?",
    "trainer.early_stopping.patients=5": "unknown key 'trainer.early_stopping.patients'; did you mean 'patience'?",
    "optimizer.momentum=0.5": "unknown key 'optimizer.momentum'; ",
    "experiment=javelin task.drug=1": "unknown key 'task.drug'; did you mean 'drag'?",
    "estimator=rlo": "unknown estimator 'rlo'; did you mean 'rloo'?",
    "experiment=javelyn": "unknown experiment 'javelyn'; did you mean 'javelin'?",
    "experiment=": "unknown experiment ''; choices: ",
    "estimator.name=rlo": "unknown estimator 'rlo'; did you mean 'rloo'?",
    "task.name=jevelin": "unknown task 'jevelin'; did you mean 'javelin'?",
    "hydra.foo=1": "Could not override 'hydra.foo'.",
    # types and ranges
    "seed=oops": "seed = 'oops': expected a valid integer, unable to parse string as an integer",
    "seed=-1": "seed = -1: expected greater than or equal to 0",
    "seed=99999999999": "seed = 99999999999: expected less than 2147483648",
    "trainer.steps=1.5": "trainer.steps = 1.5: expected a valid integer, got a number with a fractional part",
    "trainer.steps=[1]": "trainer.steps = [1]: expected a valid integer",
    "trainer.steps={a: 1}": "trainer.steps = {'a': 1}: expected a valid integer",
    "trainer.steps=true": "trainer.steps = True: expected a number, not true or false",
    "trainer.ema=true": "trainer.ema = True: expected a number, not true or false",
    "estimator.samples=true": "estimator.samples = True: expected a number, not true or false",
    "task=cartpole task.hidden=[true]": "task.hidden = [True]: expected a number, not true or false",
    "trainer.steps=null": "trainer.steps = None: expected a valid integer",
    "trainer.device=gpu": "trainer.device = 'gpu': expected 'auto', 'cpu', 'cuda' or 'mps'",
    "trainer.ema=1": "trainer.ema = 1: expected less than 1",
    "trainer.keep_checkpoints=1": "trainer.keep_checkpoints = 1: expected greater than or equal to 2",
    "trainer.clip_norm=0": "trainer.clip_norm = 0: expected greater than 0",
    "scheduler=cosine scheduler.final=2": "scheduler.final = 2: expected less than or equal to 1",
    "estimator.samples=0": "estimator.samples = 0: expected greater than or equal to 1",
    "experiment=javelin task.start_degrees=90": "task.start_degrees = 90: expected less than 90",
    "optimizer=sgd optimizer.nesterov=true": "optimizer.nesterov = True: expected optimizer.momentum above 0",
    # not finite
    "optimizer.learning_rate=nan": "optimizer.learning_rate = nan: expected ",
    "optimizer.learning_rate=inf": "optimizer.learning_rate = inf: expected a finite number",
    "optimizer.learning_rate=1e400": "optimizer.learning_rate = inf: expected a finite number",
    "optimizer.learning_rate=-1e400": "optimizer.learning_rate = -inf: expected ",
    "trainer.seconds=nan": "trainer.seconds = nan: expected ",
    "seed=1e400": "seed = inf: expected a finite number",
    "trainer.early_stopping.target=inf": "trainer.early_stopping.target = inf: expected a finite number",
    "experiment=javelin task.drag=inf": "task.drag = inf: expected a finite number",
    "experiment=javelin estimator=spsa estimator.step=nan": "estimator.step = nan: expected ",
    # _target_ wherever it is
    "+task.deep.er._target_=os.system": "'task.deep.er._target_' is refused",
    "++task.list=[{_target_: os.system}]": "'task.list.0._target_' is refused",
    "++estimator.sites={a: {_target_: os.system}}": "'estimator.sites.a._target_' is refused",
    "+_target_=os.system": "'_target_' is refused",
    "trainer._partial_=true": "'trainer._partial_' is refused",
    "hydra.launcher._target_=os.system": "'hydra.launcher._target_' = 'os.system' is refused",
    "+hydra.callbacks.x._target_=os.system": "'hydra.callbacks.x._target_' is refused",
    # Hydra's prefixes
    "+trainer.foo=1": "unknown key 'trainer.foo'; ",
    "++trainer.foo=1": "unknown key 'trainer.foo'; ",
    "~seed": "'seed' is missing",
    "~task": "'task' is missing",
    "~foo": "Could not delete from config. 'foo' does not exist.",
    "+experiment=javelin": "Multiple values for experiment.",
    # not to be parsed
    "foo": "'foo': expected group=option or key=value",
    "javelin": "'javelin': expected group=option or key=value, as in experiment=javelin",
    "=3": "'=3': expected group=option or key=value",
    "trainer=3": "unknown trainer '3'; choices: default",
    "trainer.steps=[1": "'trainer.steps=[1': expected group=option or key=value",
    "estimator=rloo,spsa": "Ambiguous value for argument 'estimator=rloo,spsa'",
    "task.environment=${nothing}": "Interpolation key 'nothing' not found",
    "seed=???": "'seed' is missing: give seed=VALUE",
    # rules by site
    "++estimator.sites={a: nothing}": "unknown rule 'nothing'; choices: ",
    "++estimator.sites={a: {temperature: 1}}": "'estimator.sites.a' needs the name of a rule: ",
    "++estimator.sites={a: {name: score_function, temperature: 1}}": "unknown key 'estimator.sites.a.temperature'",
}  # fmt: skip


@pytest.mark.one_in(3)
@pytest.mark.parametrize("arguments", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(
    arguments, tmp_path, monkeypatch, diffobj: Diffobj
):
    monkeypatch.chdir(tmp_path)
    given = [arguments] if "{" in arguments or "[1" in arguments else arguments.split()
    outcome = diffobj("train", *SHORT, *given)
    assert outcome.status == 2
    assert outcome.err.startswith(f"diffobj: {MISTAKES[arguments]}")
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""
    assert files(tmp_path) == []


def test_several_mistakes_are_one_line_each(diffobj: Diffobj):
    outcome = diffobj("train", "trainer.steps=-5", "seed=oops", "trainer.foo=1")
    assert outcome.status == 2
    assert len(outcome.err.splitlines()) == 3


def test_a_device_that_is_not_there_is_told_before_anything_is_made(
    tmp_path, monkeypatch, diffobj: Diffobj
):
    monkeypatch.chdir(tmp_path)
    outcome = diffobj("train", "experiment=javelin", *SHORT, "trainer.device=mps")
    assert outcome.status == 2
    assert outcome.err.startswith(
        "diffobj: trainer.device = 'mps': not available on this machine; choices: "
    )
    assert files(tmp_path) == []


# --- schemas --------------------------------------------------------------------------------------------------------


class Bare:
    """A component without a constructor."""


class Child:
    """A component with one."""

    def __init__(
        self, given: int, *, width: Annotated[float, Field(gt=0)], names: list[str] | None = None
    ) -> None: ...


class Grandchild(Child):
    """A component that inherits it."""


def test_a_components_keyword_only_arguments_are_its_schema():
    for factory in (Child, Grandchild):
        assert set(options_schema(factory).model_fields) == {"width", "names"}
        assert check_options(factory, {"width": "2"}, "x") == {"width": 2.0}
        with pytest.raises(UserError, match=r"^'x.width' is missing$"):
            check_options(factory, {}, "x")
        with pytest.raises(UserError, match=r"^x.names.0 = 1: expected a valid string$"):
            check_options(factory, {"width": 1, "names": [1]}, "x")
        with pytest.raises(UserError, match=r"^unknown key 'x.given'; choices: names, width$"):
            check_options(factory, {"width": 1, "given": 1}, "x")


def test_a_component_without_a_constructor_has_no_options():
    assert check_options(Bare, {}, "x") == {}
    with pytest.raises(UserError, match=r"^unknown key 'x.a'; nothing is registered there$"):
        check_options(Bare, {"a": 1}, "x")


def test_targets_are_found_at_any_depth():
    refuse_targets({"a": [1, {"b": "fine"}], "c": None})
    with pytest.raises(UserError, match=r"'a.1.0.b._args_'"):
        refuse_targets({"a": [1, [{"b": {"_args_": []}}]]})


def test_dotted_lists_every_leaf():
    assert dotted({"a": {"b": 1, "c": {"d": 2}}, "e": []}) == ["a.b", "a.c.d", "e"]


def test_the_nearest_name_or_all_of_them_are_suggested():
    assert suggestion("lr", ["learning_rate", "momentum"]) == "did you mean 'learning_rate'?"
    assert suggestion("zzz", ["b", "a"]) == "choices: a, b"
    assert suggestion("zzz", []) == "nothing is registered there"


# --- two owners, secrets --------------------------------------------------------------------------------------------


def test_an_experiment_that_lacks_its_package_line_is_told(toy, tmp_path, diffobj: Diffobj):
    broken = tmp_path / "site-packages" / "lacking"
    (broken / "configs" / "experiment").mkdir(parents=True)
    (broken / "configs/experiment/lacking.yaml").write_text("# No package.\ntrainer:\n  steps: 3\n")
    manifest = (
        'from framework.plugin import Plugin\nplugin = Plugin(name="lacking", summary="S.")\n'
    )
    (broken / "__init__.py").write_text(manifest)
    install(broken.parent, "lacking", "lacking")
    forget_plugins()
    outcome = diffobj("train", "experiment=lacking")
    assert outcome.status == 2
    assert outcome.err.endswith(
        "lacking.yaml: without '# @package _global_' above, its settings would not count\n"
    )


def test_an_option_with_two_owners_is_refused_by_both_names(
    toy, tmp_path, monkeypatch, diffobj: Diffobj
):
    second = tmp_path / "second" / "second_plugin"
    (second / "configs" / "experiment").mkdir(parents=True)
    (second / "configs" / "experiment" / "toy.yaml").write_text(
        "# @package _global_\n# Another toy.\n"
    )
    manifest = 'from framework.plugin import Plugin\nplugin = Plugin(name="second_plugin", summary="Second.")\n'
    (second / "__init__.py").write_text(manifest)
    install(second.parent, "second_plugin", "second_plugin")
    monkeypatch.syspath_prepend(second.parent)
    forget_plugins()
    outcome = diffobj("train", "experiment=toy")
    assert outcome.status == 2
    assert outcome.err.startswith("diffobj: experiment=toy is defined twice: ")
    assert str(second) in outcome.err
    assert "tests/framework/toy" in outcome.err
    assert outcome.err.endswith("; rename one\n")


def test_a_secret_of_the_environment_is_used_and_written_nowhere(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_SECRET", "swordfish")
    folder = tmp_path / "run"
    secret = "task.label=${oc.env:TOY_SECRET}"
    train.run(["experiment=toy", "monitor.tensorboard=true", secret, f"hydra.run.dir={folder}"])
    assert "${oc.env:TOY_SECRET}" in (folder / "config.yaml").read_text()
    for path in folder.rglob("*"):
        assert path.is_dir() or b"swordfish" not in path.read_bytes(), path
    monkeypatch.delenv("TOY_SECRET")
    with pytest.raises(UserError, match="TOY_SECRET"):
        train.run([f"resume={folder}", "trainer.steps=13"])
    monkeypatch.setenv("TOY_SECRET", "swordfish")
    train.run([f"resume={folder}", "trainer.steps=13"])
    assert "swordfish" not in (folder / "config.yaml").read_text()
    assert result(folder)["steps"] == 13


def test_composing_does_not_depend_on_the_working_directory(tmp_path, monkeypatch):
    here = os.getcwd()
    monkeypatch.chdir(tmp_path)
    assert validate(compose(["experiment=javelin"]).config).experiment == "javelin"
    assert os.getcwd() != here


@pytest.mark.parametrize("name", ["photo.jpg", "my photo (1), final.jpg", "a=b.png", "$1 {x}.png"])
def test_an_input_is_handed_to_a_task_that_takes_one(toy, name):
    settings = validate(compose(["experiment=toy", "task=toy_labelled", f"input={name}"]).config)
    assert settings.task.options == {"label": name}


def test_an_input_that_the_task_does_not_take_is_refused(diffobj: Diffobj):
    outcome = diffobj("train", "experiment=javelin", "input=photo.jpg")
    assert outcome.status == 2
    assert outcome.err == "diffobj: input = 'photo.jpg': task 'javelin' takes none\n"


def test_a_missing_value_is_told_by_its_whole_key():
    from omegaconf import OmegaConf

    config = OmegaConf.create({"task": {"name": "javelin", "root": "???"}})
    with pytest.raises(UserError) as error:
        validate(config)
    assert str(error.value) == "'task.root' is missing: give task.root=VALUE"
