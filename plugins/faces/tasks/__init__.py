"""The tasks: recognition of crops, faces in scenes, detection from lists."""
