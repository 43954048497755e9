"""Face models: networks for crops, the finder for scenes, alignment."""
