"""A configuration runs no code and writes nowhere but into its run folder, whichever way into Hydra is taken."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from framework.config.composition import compose
from framework.config.hydra_section import CLASSES, check_hydra_section, inside, refuse_flags
from framework.config.validation import validate
from framework.errors import UserError
from tests.runs import Diffobj, files, forget_plugins, install

SHORT = ("trainer.steps=1", "monitor.tensorboard=false")
MANIFEST = 'from framework.plugin import Plugin\nplugin = Plugin(name="evil", summary="E.")\n'
WRITE = """_target_: hydra.core.utils.Path.write_text
    self: {_target_: hydra.core.utils.Path, _args_: [MARKER]}
    data: X"""
TOUCH = "{_target_: os.system, command: touch MARKER}"
BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
JOBLIB = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
SLURM = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
OPTUNA = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
RAY = "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher"
SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"

# Files of an experiment `evil`: its text, and what the one line of the refusal must say.
HOSTILE = {
    "a callback writes": (f"hydra:\n callbacks:\n  e:\n    {WRITE}\n", "'hydra.callbacks.e._target_'"),
    "a callback runs a command": (f"hydra: {{callbacks: {{e: {TOUCH}}}}}", "'hydra.callbacks.e._target_'"),
    "a callback without a target": ("hydra: {callbacks: {e: {a: 1}}}", "'hydra.callbacks' is refused"),
    "a callback in a list": (f"hydra: {{callbacks: {{e: [{TOUCH}]}}}}", "'hydra.callbacks.e.0._target_'"),
    "callbacks from elsewhere": (f"x: {{e: {TOUCH}}}\nhydra: {{callbacks: '${{x}}'}}", "'hydra.callbacks' is refused"),
    "a callback from elsewhere": (f"x: {TOUCH}\nhydra: {{callbacks: {{e: '${{x}}'}}}}", "'hydra.callbacks' is refused"),
    "a callback made of text": (
        "hydra: {callbacks: {e: '${oc.create:{_target_: os.getcwd}}'}}", "'hydra.callbacks' is refused",
    ),
    "a target from elsewhere": (
        "x: os.system\nhydra: {callbacks: {e: {_target_: '${x}', command: touch MARKER}}}",
        "'hydra.callbacks.e._target_'",
    ),
    "a launcher that is a command": (
        f"hydra: {{launcher: {TOUCH}}}",
        "'hydra.launcher._target_' = 'os.system' is refused",
    ),
    "a launcher of Hydra's that writes": (
        "hydra:\n launcher: {_target_: hydra.core.utils.Path.write_text}", "'hydra.launcher._target_' = 'hydra.core",
    ),
    "a launcher of no known package": (
        "hydra: {launcher: {_target_: hydra_plugins.evil.Launcher}}", "'hydra.launcher._target_' = 'hydra_plugins.evil",
    ),
    "a launcher's attribute": (f"hydra: {{launcher: {{_target_: {BASIC}.launch}}}}", "'hydra.launcher._target_'"),
    "a launcher with a space": (f"hydra: {{launcher: {{_target_: '{BASIC} '}}}}", "'hydra.launcher._target_'"),
    "a cluster of Ray's elsewhere": (
        f"hydra: {{launcher: {{_target_: {RAY}, ray: {{init: {{address: evil}}, remote: {{}}}}}}}}",
        "'hydra.launcher.ray.init.address' is refused in a file; type it",
    ),
    "a sweeper for a launcher": (f"hydra: {{launcher: {{_target_: {SWEEPER}}}}}", "'hydra.launcher._target_'"),
    "a target in a launcher": (
        f"hydra: {{launcher: {{_target_: {BASIC}, x: {TOUCH}}}}}",
        "'hydra.launcher.x._target_'",
    ),
    "a target in a list of a launcher": (
        f"hydra: {{launcher: {{_target_: {BASIC}, x: [[{TOUCH}]]}}}}", "'hydra.launcher.x.0.0._target_'",
    ),
    "arguments of a launcher": (f"hydra: {{launcher: {{_target_: {BASIC}, _args_: [1]}}}}", "'hydra.launcher._args_'"),
    "part of a launcher": (
        f"hydra: {{launcher: {{_target_: {BASIC}, _partial_: true}}}}",
        "'hydra.launcher._partial_'",
    ),
    "a launcher from elsewhere": (
        f"x: {TOUCH}\nhydra: {{launcher: '${{x}}'}}",
        "Merge error: str is not a subclass of BasicLauncherConf",
    ),
    "a launcher's option from elsewhere": (
        f"x: {TOUCH}\nhydra: {{launcher: {{_target_: {BASIC}, y: '${{x}}'}}}}",
        "'hydra.launcher.y' = '${x}' is refused",
    ),
    "a launcher's option made of text": (
        f"hydra: {{launcher: {{_target_: {BASIC}, y: '${{oc.create:{{_target_: os.getcwd}}}}'}}}}",
        "'hydra.launcher.y'",
    ),
    "an option of a launcher's list from elsewhere": (
        f"x: {TOUCH}\nhydra: {{launcher: {{_target_: {BASIC}, y: ['${{x}}']}}}}", "'hydra.launcher.y.0' = '${x}'",
    ),
    "a cluster's commands": (
        f"hydra: {{launcher: {{_target_: {SLURM}, setup: [touch MARKER]}}}}",
        "'hydra.launcher.setup' is refused in a file",
    ),
    "a folder of joblib's": (
        f"hydra: {{launcher: {{_target_: {JOBLIB}, temp_folder: MARKER}}}}", "'hydra.launcher.temp_folder' is refused",
    ),
    "a sweeper that is a command": (
        f"hydra: {{sweeper: {TOUCH}}}",
        "'hydra.sweeper._target_' = 'os.system' is refused",
    ),
    "a sweeper that calls": ("hydra: {sweeper: {_target_: hydra.utils.call}}", "'hydra.sweeper._target_'"),
    "a sweep of Hydra's own keys": (
        f"hydra: {{sweeper: {{_target_: {SWEEPER}, params: {{'+hydra.callbacks.e._target_': os.getcwd}}}}}}",
        "'hydra.sweeper.params' is refused: '+hydra.callbacks.e._target_'",
    ),
    "a sweep of folders": (
        f"hydra: {{sweeper: {{_target_: {SWEEPER}, params: {{hydra.sweep.dir: MARKER}}}}}}", "'hydra.sweeper.params'",
    ),
    "parameters from elsewhere": (
        f"x: {{seed: '0,1'}}\nhydra: {{sweeper: {{_target_: {SWEEPER}, params: '${{x}}'}}}}", "'hydra.sweeper.params'",
    ),
    "a sampler that is a command": (
        f"hydra: {{sweeper: {{_target_: {OPTUNA}, sampler: {TOUCH}}}}}",
        "'hydra.sweeper.sampler._target_' = 'os.system'",
    ),
    "a target in a sampler": (
        f"hydra: {{sweeper: {{_target_: {OPTUNA}, sampler: {{_target_: optuna.samplers.TPESampler, x: {TOUCH}}}}}}}",
        "'hydra.sweeper.sampler.x._target_'",
    ),
    "a search space that is code": (
        f"hydra: {{sweeper: {{_target_: {OPTUNA}, custom_search_space: os.getcwd}}}}",
        "'hydra.sweeper.custom_search_space'",
    ),
    "a data base": (
        f"hydra: {{sweeper: {{_target_: {OPTUNA}, storage: 'sqlite:///MARKER'}}}}",
        "'hydra.sweeper.storage' is refused",
    ),
    "variables of the environment": ("hydra: {job: {env_set: {LD_PRELOAD: MARKER}}}", "'hydra.job.env_set.LD_PRELOAD'"),
    "a job's folder above": ("hydra: {sweep: {subdir: ../../../MARKED}}", "'hydra.sweep.subdir' is refused in a file"),
    "a job's folder from elsewhere": ("x: ../M\nhydra: {sweep: {subdir: '${x}'}}", "'hydra.sweep.subdir' is refused"),
    "a mode": ("hydra: {mode: MULTIRUN}", "'hydra.mode' is refused in a file"),
    "a target in the help": (f"hydra: {{verbose: {TOUCH}}}", "'hydra.verbose._target_' is refused"),
    "a section from elsewhere": ("x: {callbacks: {}}\nhydra: ${x}", "Merge error: str is not a subclass of HydraConf"),
    "callbacks by a group": ("defaults: [{'/payload@hydra.callbacks.e': touch}]", "'hydra.callbacks.e._target_'"),
    "callbacks by a package": ("defaults: [{'/payload': packed}]", "'hydra.callbacks.e._target_'"),
    "a search path": ("hydra: {searchpath: ['pkg://evil_module']}", "hydra.searchpath"),
}  # fmt: skip
# What configs/train.yaml says itself counts above an experiment: these are looked at as if it did not.
OVERRULED = {
    "a log file": (
        "hydra:\n job_logging:\n  version: 1\n  handlers: {f: {class: logging.FileHandler, filename: MARKER}}\n"
        "  root: {handlers: [f]}", "'hydra.job_logging' is refused",
    ),
    "a log file of Hydra's": (
        "hydra:\n hydra_logging:\n  version: 1\n  handlers: {f: {class: logging.FileHandler, filename: MARKER}}\n"
        "  root: {handlers: [f]}", "'hydra.hydra_logging' is refused",
    ),
    "a handler made by a call": (
        "hydra:\n job_logging:\n  version: 1\n  handlers: {f: {'()': os.system, command: touch MARKER}}\n"
        "  root: {handlers: [f]}", "'hydra.job_logging' is refused",
    ),
    "a log from elsewhere": ("x: {root: 1}\nhydra: {job_logging: '${x}'}", "'hydra.job_logging' = '${x}' is refused"),
    "a folder of its own above": ("hydra: {output_subdir: ../../MARKED}", "'hydra.output_subdir' = '../../MARKED'"),
    "a folder of its own anywhere": ("hydra: {output_subdir: MARKER}", "'hydra.output_subdir' = '"),
    "a run folder anywhere": ("hydra: {run: {dir: MARKER}}", "'hydra.run.dir' is refused in a file"),
    "a run folder above": ("hydra: {run: {dir: a/../../MARKED}}", "'hydra.run.dir' is refused in a file"),
    "a run folder at home": ("hydra: {run: {dir: '${oc.env:HOME}/MARKED'}}", "'hydra.run.dir' is refused in a file"),
    "a run folder from elsewhere": ("x: {dir: MARKER}\nhydra: {run: '${x}'}", "'hydra.run' = '${x}' is refused"),
    "a sweep's folder anywhere": ("hydra: {sweep: {dir: MARKER}}", "'hydra.sweep.dir' is refused in a file"),
}  # fmt: skip


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A plugin of which only the configurations are hostile; the folder in which none of them may leave a mark."""
    place = tmp_path_factory.mktemp("evil")
    marks, package = place / "marks", place / "packages" / "evil"
    marks.mkdir()
    texts = {
        "payload/touch": TOUCH.replace("{", "", 1).replace("}", "").replace(", ", "\n"),
        "payload/packed": f"# @package hydra.callbacks\ne: {TOUCH}\n",
        "experiment_estimator/pair_spsa": f"# @package _global_\nhydra: {{callbacks: {{e: {TOUCH}}}}}\n",
        "experiment/pair": "# @package _global_\nseed: 1\n",
    }
    for number, (text, _) in enumerate(HOSTILE.values()):
        # A launcher or a sweeper of one's own is a file of Hydra's group: the keys of Hydra's own are fixed.
        written = yaml.safe_load(text)
        section = written.get("hydra")
        for group in ("launcher", "sweeper"):
            if isinstance(section, dict) and isinstance(section.get(group), dict):
                texts[f"hydra/{group}/evil_{number}"] = yaml.safe_dump(section.pop(group))
                written["defaults"] = [{f"override /hydra/{group}": f"evil_{number}"}]
        texts[f"experiment/evil_{number}"] = f"# @package _global_\n{yaml.safe_dump(written)}"
    for name, text in texts.items():
        path = package / "configs" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("MARKER", str(marks / "mark")))
    (package / "__init__.py").write_text(MANIFEST)
    (package.parent / "evil_module.py").write_text(f"open({str(marks / 'mark')!r}, 'w')\n")
    install(package.parent, "evil", "evil")
    sys.path.insert(0, str(package.parent))
    forget_plugins()
    yield marks
    sys.path.remove(str(package.parent))
    forget_plugins()


@pytest.mark.one_in(4)
@pytest.mark.parametrize("way", [("-m", "seed=0,1"), ("--cfg=all", "--resolve"), ()])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_experiment_is_refused_in_one_line_and_leaves_no_mark(
    evil, tmp_path, monkeypatch, diffobj: Diffobj, case, way
):
    inside = tmp_path / "a" / "b" / "c"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    number = list(HOSTILE).index(case)
    outcome = diffobj("train", *way, f"experiment=evil_{number}", "task=javelin", *SHORT)
    assert HOSTILE[case][1] in outcome.err
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""
    assert files(evil) == []
    assert files(tmp_path) == ["a", "a/b", "a/b/c"]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("case", OVERRULED)
def test_a_hostile_section_is_refused_where_it_counts(case):
    from framework.config.composition import hydra_composition

    text, refusal = OVERRULED[case][0].replace("MARKER", "/nowhere"), OVERRULED[case][1]
    with hydra_composition(["experiment=javelin"]) as config:
        plain = OmegaConf.to_container(config, resolve=False)
        assert isinstance(plain, dict)
        for key, value in yaml.safe_load(text).items():
            plain[key] = plain["hydra"] | value if key == "hydra" else value
        config = OmegaConf.create(plain)
        with pytest.raises(UserError, match=f"^{re.escape(refusal)}"):
            check_hydra_section(config, [])


def test_one_job_of_a_sweep_is_enough(evil, tmp_path, monkeypatch, diffobj: Diffobj):
    monkeypatch.chdir(tmp_path)
    outcome = diffobj("train", "-m", "experiment=pair", "task=javelin", "estimator=rloo,spsa")
    assert outcome.err == (
        "diffobj: 'hydra.callbacks.e._target_' is refused: a configuration runs no code\n"
    )
    assert outcome.status == 2
    assert files(evil) == files(tmp_path) == []


TYPED = {
    "+hydra.callbacks.e._target_=os.getcwd": "'hydra.callbacks.e._target_' is refused",
    "+hydra.callbacks={e: {_target_: os.getcwd}}": "'hydra.callbacks.e._target_' is refused",
    "hydra.launcher._target_=os.getcwd": "'hydra.launcher._target_' = 'os.getcwd' is refused",
    "hydra.launcher._target_=hydra.core.utils.Path.write_text": "'hydra.launcher._target_' = 'hydra.",
    "+hydra.launcher.x._target_=os.getcwd": "'hydra.launcher.x._target_' is refused",
    "hydra.sweeper._target_=optuna.samplers.TPESampler": "'hydra.sweeper._target_' = 'optuna.",
    "+hydra.sweeper.custom_search_space=os.getcwd": "'hydra.sweeper.custom_search_space' is refused",
    "hydra/job_logging=default": "'hydra.job_logging' is refused",
    "hydra.output_subdir=../x": "'hydra.output_subdir' = '../x': expected a folder's name or null",
    "hydra.searchpath=[pkg://evil_module]": "'hydra.searchpath' is refused",
    "hydra.searchpath=pkg://evil_module": "'hydra.searchpath' is refused",
    "+task.x={_target_: os.getcwd}": "'task.x._target_' is refused",
    "+task.x=[[{_target_: os.getcwd}]]": "'task.x.0.0._target_' is refused",
    "+task.x='${oc.create:\"{_target_: os.getcwd}\"}'": "'task.x._target_' is refused",
    "+task.x='${oc.decode:\"{_target_: os.getcwd}\"}'": "'task.x._target_' is refused",
}  # fmt: skip


@pytest.mark.one_in(3)
@pytest.mark.parametrize("override", TYPED)
def test_a_hostile_override_is_refused_in_python_as_in_a_command(evil, diffobj: Diffobj, override):
    with pytest.raises(UserError) as told:
        validate(compose(["experiment=javelin", override]).config)
    assert str(told.value).startswith(TYPED[override])
    assert "\n" not in str(told.value)
    for way in (("-m", "seed=0,1"), ()):
        outcome = diffobj("train", *way, "experiment=javelin", override)
        assert outcome.status == 2
        assert outcome.err == f"diffobj: {told.value}\n"
    assert files(evil) == []


@pytest.mark.parametrize(
    "flag",
    ["--experimental-rerun=x", "--exp=x",
     "--config-path=pkg://this", "--config-p=x", "-cp=x", "-cn=x", "--config-name=x"],
)  # fmt: skip
def test_a_flag_that_could_run_a_files_code_is_refused(diffobj: Diffobj, flag):
    outcome = diffobj("train", flag)
    assert outcome.status == 2
    # A shortened one is unknown.
    name = flag.partition("=")[0]
    assert outcome.err.startswith(
        (f"diffobj: '{name}' is refused: ", f"diffobj: '{flag}': unknown")
    )
    assert outcome.err.count("\n") == 1


def test_the_other_flags_are_taken():
    refuse_flags(
        [
            "-m",
            "--multirun",
            "--cfg",
            "-c",
            "--config-dir=x",
            "-cd",
            "--resolve",
            "-p",
            "--info",
            "-sc",
        ]
    )


def test_what_the_user_types_about_folders_and_variables_counts(tmp_path):
    typed = [f"hydra.run.dir={tmp_path}/x", "hydra.sweep.dir=../y", "hydra.sweep.subdir=../z"]
    composed = compose(["experiment=javelin", *typed, "+hydra.job.env_set.OMP_NUM_THREADS=1"])
    assert composed.run_folder == tmp_path / "x"


def test_the_environment_is_copied_where_a_file_says_so(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    compose(["experiment=javelin", "hydra.job.env_copy=[CUDA_VISIBLE_DEVICES]"])


@pytest.mark.parametrize("place", sorted(CLASSES))
def test_every_class_of_the_list_is_accepted_by_its_exact_name(place):
    composed = OmegaConf.create(
        {
            "hydra": {
                "launcher": {"_target_": BASIC},
                "sweeper": {"_target_": OPTUNA, "sampler": {"_target_": "optuna.samplers.TPESampler"}},
                "job_logging": {"root": None},
                "hydra_logging": {"root": None},
                "job": {},
                "run": {"dir": "outputs/x"},
                "sweep": {"dir": "multirun/x", "subdir": "${hydra.job.num}"},
            }
        }
    )  # fmt: skip
    for name in CLASSES[place]:
        OmegaConf.update(composed, f"{place}._target_", name)
        check_hydra_section(composed, [])
    for wrong in (name[1:], f"{name}.x", name.lower(), f"{name}\n", ""):
        OmegaConf.update(composed, f"{place}._target_", wrong)
        with pytest.raises(UserError, match=rf"^'{place}._target_' = "):
            check_hydra_section(composed, [])


@pytest.mark.parametrize(
    ("place", "is_inside"),
    [("a/b", True), ("", True), ("..", False), ("a/../../b", False), ("/a", False), ("~/a", False), ("a..b", True)],
)  # fmt: skip
def test_a_place_inside_has_no_way_out(place, is_inside):
    assert inside(place) is is_inside


def test_hydras_own_loader_is_back_afterwards():
    import hydra._internal.hydra as internals
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    compose(["experiment=javelin"])
    with pytest.raises(UserError):
        compose(["experiment=javelin", "+hydra.callbacks.e=1"])
    assert vars(internals)["ConfigLoaderImpl"] is ConfigLoaderImpl
    assert os.getcwd()
