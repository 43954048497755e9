"""Readers of annotated images: COCO json, Pascal VOC xml, YOLO txt and CSV; each file is one format."""
