"""What detections are worth: COCO's metrics, kinds of errors, figures."""
