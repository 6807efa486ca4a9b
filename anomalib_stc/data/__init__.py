"""Datamodules of this package."""

from anomalib_stc.data.texture_demo import TextureDemo

__all__ = ["TextureDemo"]
