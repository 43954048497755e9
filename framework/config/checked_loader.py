"""Hydra's loading of configurations, checked before anything is done with them, whichever way into Hydra is taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hydra._internal.hydra as hydra_internals
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import OmegaConf

from framework.config.composition import hydra_errors_as_user_errors
from framework.config.hydra_section import check_hydra_section
from framework.errors import UserError


class Refusal(SystemExit):
    """A configuration is refused; no `Exception`, since Hydra's command line prints those with a traceback."""


class CheckedLoader(ConfigLoaderImpl):
    """Hydra's loader; the section `hydra` of all that it loads, each job of a sweep included, is checked."""

    def load_configuration(self, config_name: Any, overrides: Any, *given: Any, **more: Any) -> Any:
        try:
            with hydra_errors_as_user_errors():
                config = super().load_configuration(config_name, overrides, *given, **more)
            check_hydra_section(config, overrides)
        except UserError as error:
            raise Refusal(str(error)) from None
        return config

    def _process_config_searchpath(
        self, config_name: Any, parsed_overrides: Any, repo: Any
    ) -> None:
        """A search path may name a module to import: there is none but the core's, the plugins' and --config-dir's."""
        typed = any("searchpath" in override.key_or_group for override in parsed_overrides)
        primary = None if config_name is None else repo.load_config(config_path=config_name)
        if typed or (primary and OmegaConf.select(primary.config, "hydra.searchpath")):
            raise UserError("'hydra.searchpath' is refused: --config-dir=FOLDER adds options")


@contextmanager
def checked_loading() -> Iterator[None]:
    """Whatever Hydra loads inside the block is checked.

    Raises:
        UserError: a configuration would run code or write elsewhere.
    """
    unchecked = hydra_internals.ConfigLoaderImpl  # type: ignore[attr-defined]
    hydra_internals.ConfigLoaderImpl = CheckedLoader  # type: ignore[attr-defined]
    try:
        yield
    except Refusal as refusal:
        raise UserError(str(refusal)) from None
    finally:
        hydra_internals.ConfigLoaderImpl = unchecked  # type: ignore[attr-defined]
