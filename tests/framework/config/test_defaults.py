"""One default, in one place: a component's signature. Its YAML explains each option and says the same."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from pydantic import BaseModel, TypeAdapter

from framework.config.composition import config_folders
from framework.config.schema import MonitorSettings, TrainerSettings
from framework.config.validation import COMPONENT_GROUPS, options_schema
from framework.plugin import registry


def explained() -> dict[tuple[str, str], dict[str, Any]]:
    """Each component's options as its own YAML writes them: {(group, name): {option: value}}.

    A component's own YAML has its name; other files that name it, such as task/cartpole.yaml, are variants.
    """
    found = {}
    for folder in config_folders():
        for key, group in COMPONENT_GROUPS.items():
            for file in sorted((folder / key).glob("*.yaml")):
                options = read(file)
                name = options.pop("name", None)
                options.pop("defaults", None)
                if name == file.stem:
                    found[group, name] = options
    return found


def read(file: Path) -> dict[str, Any]:
    """A YAML file as configurations read it."""
    options = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    assert isinstance(options, dict)
    return {str(key): value for key, value in options.items()}


EXPLAINED = explained()


def interpolated(value: Any) -> bool:
    return isinstance(value, str) and "${" in value


def plain(value: Any) -> Any:
    """A default as YAML would have it: sections as mappings, tuples as lists."""
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    return TypeAdapter(Any).dump_python(value, mode="json")


def differences(written: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
    """Where a YAML and the defaults say different things; what YAML takes from elsewhere (`${...}`) is left out."""
    found = []
    for name, default in defaults.items():
        if name not in written:
            found.append(f"{name}: not explained")
        elif default is inspect.Parameter.empty or interpolated(written[name]):
            continue
        elif isinstance(default, dict) and isinstance(written[name], dict):
            found += [f"{name}.{text}" for text in differences(written[name], default)]
        elif written[name] != default:
            found.append(f"{name}: {written[name]!r} in YAML, {default!r} in the signature")
    return found + [f"{name}: unknown" for name in written.keys() - defaults.keys()]


@pytest.mark.parametrize("group", ["estimators", "optimizers", "schedulers"])
def test_every_component_that_a_configuration_can_name_has_a_yaml_of_its_own(group):
    missing = [name for name in registry().names(group) if (group, name) not in EXPLAINED]
    assert missing == []


@pytest.mark.parametrize(("group", "name"), EXPLAINED, ids=lambda value: str(value))
def test_a_yaml_says_what_the_signature_says(group, name):
    component = registry().component(group, name)
    factory = component.load()
    fields = options_schema(factory).model_fields
    defaults = {
        option: inspect.Parameter.empty if field.is_required() else plain(field.default)
        for option, field in fields.items()
    }
    assert differences(EXPLAINED[group, name], defaults) == []


@pytest.mark.parametrize(
    ("file", "schema"), [("trainer/default", TrainerSettings), ("monitor/default", MonitorSettings)]
)
def test_the_core_sections_yaml_says_what_the_schema_says(file, schema):
    written = read(config_folders()[0] / f"{file}.yaml")
    assert differences(written, plain(schema())) == []
