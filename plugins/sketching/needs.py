"""The packages of extras that a drawing needs, by its options; asked before torch is imported."""

from collections.abc import Iterator, Mapping
from typing import Any

from framework.extras import Need


def autoencoder(options: Mapping[str, Any]) -> Iterator[Need]:
    """scikit-learn's digits, where they are what is drawn."""
    if options.get("images") == "digits":
        yield Need("sklearn", "sketching", "task.images = 'digits' needs the package scikit-learn")
