"""Evaluation of detections: COCO's metrics, kinds of errors, figures."""
