"""Detection data: readers of label formats, generated images, resizing, augmentation."""
