"""Connect the entry points to an ``anomalib.models`` that has just been executed."""

from types import ModuleType

from anomalib_stc.plugin.first_use import on_first_use
from anomalib_stc.plugin.name_resolver import resolve_names
from anomalib_stc.plugin.registry import ModelRegistry


def attach(models: ModuleType) -> None:
    """Make ``models`` load the entry points at its first use, and the command line know their names.

    Args:
        models: The module ``anomalib.models``.
    """
    registry = ModelRegistry(models)
    resolve_names(models.AnomalibModule, registry.class_path)
    on_first_use(models, registry.load)
