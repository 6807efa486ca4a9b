"""Reconstruction models with memory for anomalib; importing this package imports neither torch nor anomalib."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("anomalib-stc")
except PackageNotFoundError:  # a source tree on PYTHONPATH, never installed
    __version__ = "0.0.0"
