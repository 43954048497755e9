"""Faces: found and described by one network, on drawn faces or on photographs of one's own."""

from framework.plugin import Plugin

plugin = Plugin(
    name="faces",
    summary="From an image to boxes, landmarks and a feature for each face that is near for the same person.",
    tasks={
        "faces_recognition": "plugins.faces.recognition:Recognition",
        "faces": "plugins.faces.faces:Faces",
        "face_detection": "plugins.faces.listed:FaceDetection",
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
        "softmax": "plugins.faces.losses:Softmax",
        "normalised_softmax": "plugins.faces.losses:NormalisedSoftmax",
        "cosface": "plugins.faces.losses:CosFace",
        "arcface": "plugins.faces.losses:ArcFace",
        "sub_centre_arcface": "plugins.faces.losses:SubCentreArcFace",
        "adaface": "plugins.faces.losses:AdaFace",
        "magface": "plugins.faces.losses:MagFace",
        "curricularface": "plugins.faces.losses:CurricularFace",
        "contrastive": "plugins.faces.losses:Contrastive",
        "triplet_batch_hard": "plugins.faces.losses:BatchHardTriplet",
        "triplet_semi_hard": "plugins.faces.losses:SemiHardTriplet",
        "supcon": "plugins.faces.losses:SupCon",
    },
)
