"""The names under which the plugin faces still imports the one reader of photographs, `framework.photographs`."""

from framework.photographs import MAX_PIXELS, Unreadable, refuse_huge
from framework.photographs import from_pillow as as_tensor
from framework.photographs import read_photograph as read_image

__all__ = ["MAX_PIXELS", "Unreadable", "as_tensor", "read_image", "refuse_huge"]
