"""The packages of extras that a detector needs, by its options; asked before torch is imported."""

from collections.abc import Iterator, Mapping
from typing import Any

from framework.extras import Need


def needs(options: Mapping[str, Any]) -> Iterator[Need]:
    """COCO's metrics for all, the Hungarian matching for set prediction."""
    yield Need("faster_coco_eval", "detection", "the metrics of detection need faster-coco-eval")
    if str(options.get("model", "")).startswith("set_"):
        yield Need("scipy", "detection", "set prediction needs scipy for its matching")
