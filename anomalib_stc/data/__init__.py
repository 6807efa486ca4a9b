"""Datamodules of this package."""
