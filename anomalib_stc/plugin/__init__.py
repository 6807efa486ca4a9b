"""Add the models of other packages to anomalib, which has no discovery of its own.

Any distribution that declares the entry-point group ``anomalib.models`` is served. The day anomalib reads that
group itself, this folder and ``startup/`` can be deleted.
"""

from anomalib_stc.plugin.attach import attach
from anomalib_stc.plugin.registry import GROUP, ModelRegistry

__all__ = ["GROUP", "ModelRegistry", "attach"]
