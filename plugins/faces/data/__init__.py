"""Face data: photographs and lists of them, crops, augmentation."""
