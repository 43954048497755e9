"""Object detection: an image goes in, boxes with labels come out."""

from framework.plugin import Plugin

plugin = Plugin(
    name="detection",
    summary="Objects found in images: boxes and labels, trained from scratch in minutes or fine-tuned.",
    tasks={"detection": "plugins.detection.task:Detection"},
    commands={"export": "plugins.detection.commands.export:run"},
    models={
        "nano": "plugins.detection.models.anchor_free:nano",
        "tiny": "plugins.detection.models.anchor_free:tiny",
        "small": "plugins.detection.models.anchor_free:small",
        "aligned_nano": "plugins.detection.models.aligned:aligned_nano",
        "aligned_tiny": "plugins.detection.models.aligned:aligned_tiny",
        "set_nano": "plugins.detection.models.set_prediction:set_nano",
        "set_tiny": "plugins.detection.models.set_prediction:set_tiny",
        "fcos": "plugins.detection.models.zoo:fcos",
        "retinanet": "plugins.detection.models.zoo:retinanet",
        "faster_rcnn": "plugins.detection.models.zoo:faster_rcnn",
        "faster_rcnn_mobile": "plugins.detection.models.zoo:faster_rcnn_mobile",
        "ssdlite": "plugins.detection.models.zoo:ssdlite",
    },
)
