"""The demo's web server: its page, its examples and its activities, for this machine only; see `local_page`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from framework.config.validation import check_options
from framework.errors import UserError
from framework.local_page import Activity, LocalPage, Send, files_of
from plugins.demo.activities import ACTIVITIES
from plugins.demo.pictures import MAX_BYTES, accept
from plugins.demo.runs import Runs

HOME = Path(__file__).parent


def static_files() -> dict[str, Path]:
    """Every file that is served, by path."""
    return {**files_of(HOME / "page"), **files_of(HOME / "examples", "/examples/")}


class Demo(LocalPage):
    """The demo while it is served: `with Demo() as demo: demo.wait()`.

    Args:
        port: of this machine; 0: any that is free.

    Raises:
        UserError: the port is taken, or not to be had.
    """

    def __init__(self, port: int = 0) -> None:
        self.runs = Runs()
        try:
            super().__init__(
                static_files(),
                self.activity,
                port=port,
                marks={"MAX_BYTES": str(MAX_BYTES)},
                most_bytes=MAX_BYTES,
            )
        except UserError:
            self.runs.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self.runs.close()

    def activity(self, name: str) -> Activity | None:
        """What a visitor can do, by name."""
        function: Any = ACTIVITIES.get(name)
        if function is None:
            return None

        def perform(send: Send, options: Mapping[str, str], data: bytes) -> None:
            checked = check_options(function, options, function.__name__)
            picture = accept(data, self.runs.folder) if data else None
            function(self.runs, send, picture, **checked)

        return perform
