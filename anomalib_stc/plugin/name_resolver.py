"""Let jsonargparse, and so anomalib's command line and config files, know the models by their entry-point names.

jsonargparse finds a class by its exact name only, and has no public place to teach it another one. The one function
that turns a name into a class path is therefore wrapped; the wrapper looks at a name only if the wanted type is an
anomalib model and jsonargparse found nothing, so every other parser behaves as before.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from anomalib_stc.plugin.notice import warn


def resolve_names(model_type: type, class_path: Callable[[str], str | None]) -> None:
    """Resolve names of ``model_type`` values that jsonargparse does not know by ``class_path``.

    Args:
        model_type: The base class whose subclasses have names.
        class_path: Returns the dotted path of the class with that name, or ``None``.
    """
    from jsonargparse import _typehints

    original = getattr(_typehints, "resolve_class_path_by_name", None)
    if original is None:
        warn("This jsonargparse takes models by class name or class path only: its name resolver has moved.")
        return

    @wraps(original)
    def resolve(cls: Any, name: str) -> str:
        known = class_path(name) if "." not in name and _wants(cls, model_type) else None  # first: it loads them
        path = original(cls, name)
        return path if "." in path else known or path

    _typehints.resolve_class_path_by_name = resolve


def _wants(cls: Any, model_type: type) -> bool:
    """Return whether the wanted type, or one of a tuple of types, is the model type or a subclass of it."""
    types = cls if isinstance(cls, tuple) else (cls,)
    return any(model_type in getattr(one, "__mro__", ()) for one in types)
