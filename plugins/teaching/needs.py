"""The packages of extras that the digits need; asked before torch is imported."""

from collections.abc import Iterator, Mapping
from typing import Any

from framework.extras import Need


def digits(options: Mapping[str, Any]) -> Iterator[Need]:
    """scikit-learn's digits, where no folder of others is given."""
    if options.get("folder") is None:
        yield Need(
            "sklearn", "teaching", "the digits (or task.folder with MNIST's) need scikit-learn"
        )
