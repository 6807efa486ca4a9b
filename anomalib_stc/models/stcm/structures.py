"""The two structures of STCM, semantic and low-level, from the model's arguments."""

from typing import Any

from anomalib_stc.models.stcm.semantic import PartSegmentation, UserSegmentation
from anomalib_stc.models.stcm.structure import SoftCanny, StructureExtractor
from anomalib_stc.parts.features import TextureFeatures


def extractors(
    features: TextureFeatures,
    *,
    semantic: str,
    semantic_args: dict[str, Any] | None,
    parts: int,
    part_temperature: float,
    low_level: bool,
) -> dict[str, StructureExtractor]:
    """Return the extractors by name, ``semantic`` and ``low_level``, where they are switched on.

    Raises:
        ValueError: If the user's segmentation network cannot be loaded.
    """
    found: dict[str, StructureExtractor] = {}
    if semantic == "parts":
        found["semantic"] = PartSegmentation(features.channels, parts, part_temperature)
    elif semantic != "none":
        found["semantic"] = UserSegmentation(semantic, semantic_args)
    if low_level:
        found["low_level"] = SoftCanny()
    return found
