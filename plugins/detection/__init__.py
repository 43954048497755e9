"""Object detection: an image goes in, boxes with labels come out."""

from framework.plugin import Plugin

plugin = Plugin(
    name="detection",
    summary="Objects in images: boxes and labels, trained from scratch in minutes or fine-tuned.",
    renamed={
        "tasks.detection": {
            "most": "max_detections",
            "floor": "score_threshold",
            "clear": "display_threshold",
            "start": "init_from",
            "data.form": "data.format",
            "augmentation.jitter": "augmentation.scale_jitter",
            "augmentation.plain_share": "augmentation.no_mosaic_fraction",
            "reward.least": "reward.iou_threshold",
            "reward.spread": "reward.box_std",
            "relaxed.thresholds": "relaxed.iou_thresholds",
            "model_options.agreement": "model_options.iou_type",
            "model_options.reach": "model_options.reg_max",
            "model_options.places": "model_options.top_k",
            "model_options.nothing_weight": "model_options.no_object_weight",
            "model_options.corner_weight": "model_options.l1_weight",
            "model_options.agreement_weight": "model_options.giou_weight",
        },
    },
    tasks={"detection": "plugins.detection.task:Detection"},
    needs={"tasks.detection": "plugins.detection.needs:needs"},
    commands={
        "export": "plugins.detection.commands.export:run",
        "inspect": "plugins.detection.commands.inspect:run",
        "doctor": "plugins.detection.commands.doctor:run",
    },
    models={
        "nano": "plugins.detection.models.anchor_free:nano",
        "tiny": "plugins.detection.models.anchor_free:tiny",
        "small": "plugins.detection.models.anchor_free:small",
        "aligned_nano": "plugins.detection.models.aligned:aligned_nano",
        "aligned_tiny": "plugins.detection.models.aligned:aligned_tiny",
        "set_nano": "plugins.detection.models.set_prediction:set_nano",
        "set_tiny": "plugins.detection.models.set_prediction:set_tiny",
        "timm": "plugins.detection.models.timm_pyramid:timm",
        "fcos": "plugins.detection.models.zoo:fcos",
        "retinanet": "plugins.detection.models.zoo:retinanet",
        "faster_rcnn": "plugins.detection.models.zoo:faster_rcnn",
        "faster_rcnn_mobile": "plugins.detection.models.zoo:faster_rcnn_mobile",
        "ssdlite": "plugins.detection.models.zoo:ssdlite",
    },
)
