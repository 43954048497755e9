"""Galleries: people who consented to be recognised, in one file that only its owner reads."""

from plugins.faces.gallery.gallery import Gallery, Identification

__all__ = ["Gallery", "Identification"]
