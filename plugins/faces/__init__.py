"""Faces: found and described by one network, on drawn faces or on photographs of one's own."""

from framework.plugin import Plugin

plugin = Plugin(
    name="faces",
    summary="From an image to boxes, landmarks and a feature for each face that is near for the same person.",
    tasks={
        "faces_recognition": "plugins.faces.tasks.recognition:Recognition",
        "faces": "plugins.faces.tasks.scenes_task:Faces",
        "face_detection": "plugins.faces.tasks.face_detection:FaceDetection",
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
