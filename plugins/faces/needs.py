"""The packages of extras that a face detector needs; asked before torch is imported."""

from collections.abc import Iterator, Mapping
from typing import Any

from framework.extras import Need


def needs(options: Mapping[str, Any]) -> Iterator[Need]:
    """COCO's metrics, where faces are detected in whole images."""
    yield Need("faster_coco_eval", "faces", "the metrics of face detection need faster-coco-eval")
