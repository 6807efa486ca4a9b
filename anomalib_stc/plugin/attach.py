"""Connect the entry points to an ``anomalib.models`` that has just been executed."""

from types import ModuleType

from anomalib_stc.plugin.first_use import on_first_use
from anomalib_stc.plugin.name_resolver import resolve_names
from anomalib_stc.plugin.registry import ModelRegistry, places
from anomalib_stc.plugin.wrong_arguments import raise_own_sentences


def attach(models: ModuleType) -> None:
    """Make ``models`` load the entry points at its first use; the command line knows names and tells errors.

    Args:
        models: The module ``anomalib.models``.
    """
    registry = ModelRegistry(models)
    resolve_names(models.AnomalibModule, registry.class_path)
    raise_own_sentences()
    for module in places(models):
        on_first_use(module, registry.load)
