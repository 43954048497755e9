"""Composing from folders whose names a URL would escape."""

from types import SimpleNamespace

import pytest

from framework.config import composition
from framework.config.composition import compose
from framework.plugin import registry


@pytest.mark.parametrize("name", ["configs", "a b", "50%20", "ü#?"])
def test_a_plugin_is_found_wherever_it_is_installed(tmp_path, name, monkeypatch):
    mine = tmp_path / name / "experiment" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("# @package _global_\ndefaults: [javelin, _self_]\ntrainer: {steps: 7}\n")
    added = SimpleNamespace(name="mine", configs=tmp_path / name)
    found = SimpleNamespace(found=[*registry().found, added])
    composition.config_options.cache_clear()
    monkeypatch.setattr(composition, "registry", lambda: found)
    try:
        assert compose(["experiment=mine"]).config.trainer.steps == 7
    finally:
        composition.config_options.cache_clear()
