"""Faces: detected and embedded by one network, trained on synthetic faces or on your own photographs."""

from framework.plugin import Plugin

plugin = Plugin(
    name="faces",
    summary="From an image to boxes, landmarks and an embedding of each face that is close for the same person.",
    renamed={
        "tasks.faces": {
            "route": "feature_source",
            "shared": "feature_level",
            "size": "embedding_size",
            "patch": "patch_size",
            "aim": "box_jitter",
            "margin_from": "margin_start",
            "ramp": "margin_warmup",
            "data.most": "data.max_faces",
            "data.tested_scenes": "data.test_scenes",
            "data.tested_people": "data.test_people",
        },
        "tasks.faces_recognition": {
            "ramp": "margin_warmup",
            "data.held_out": "data.test_fraction",
            "data.tested_people": "data.test_people",
            "data.tested_pictures": "data.test_pictures",
            "network.size": "network.embedding_size",
            "network.even_light": "network.standardise",
            "augmentation.mirror": "augmentation.flip",
            "augmentation.turn": "augmentation.rotation",
            "augmentation.shift": "augmentation.translation",
            "augmentation.zoom": "augmentation.scale",
            "augmentation.light": "augmentation.exposure",
            "augmentation.shade": "augmentation.side_light",
            "augmentation.cover": "augmentation.erase",
        },
        "tasks.face_detection": {"list": "annotations", "held_out": "test_fraction"},
    },
    tasks={
        "faces_recognition": "plugins.faces.tasks.recognition:Recognition",
        "faces": "plugins.faces.tasks.faces:Faces",
        "face_detection": "plugins.faces.tasks.face_detection:FaceDetection",
    },
    needs={
        "tasks.faces": "plugins.faces.needs:needs",
        "tasks.face_detection": "plugins.faces.needs:needs",
    },
    commands={
        "calibrate": "plugins.faces.commands.calibrate:run",
        "verify": "plugins.faces.commands.verify:run",
        "enrol": "plugins.faces.commands.enrol:run",
        "identify": "plugins.faces.commands.identify:run",
        "forget": "plugins.faces.commands.forget:run",
        "cluster": "plugins.faces.commands.cluster:run",
    },
    losses={
        "softmax": "plugins.faces.losses.class_losses:Softmax",
        "normalised_softmax": "plugins.faces.losses.class_losses:NormalisedSoftmax",
        "cosface": "plugins.faces.losses.class_losses:CosFace",
        "arcface": "plugins.faces.losses.class_losses:ArcFace",
        "sub_centre_arcface": "plugins.faces.losses.class_losses:SubCentreArcFace",
        "adaface": "plugins.faces.losses.class_losses:AdaFace",
        "magface": "plugins.faces.losses.class_losses:MagFace",
        "curricularface": "plugins.faces.losses.class_losses:CurricularFace",
        "contrastive": "plugins.faces.losses.pair_losses:Contrastive",
        "triplet_batch_hard": "plugins.faces.losses.pair_losses:BatchHardTriplet",
        "triplet_semi_hard": "plugins.faces.losses.pair_losses:SemiHardTriplet",
        "supcon": "plugins.faces.losses.pair_losses:SupCon",
    },
)
