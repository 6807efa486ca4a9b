"""Run a function before a module's attributes are read for the first time.

Loading the models while ``anomalib.models`` is still being imported would run into half-made modules: it is
imported in the middle of ``anomalib.engine``, and a model needs that. The first reader comes after.
"""

from collections.abc import Callable
from types import ModuleType


def on_first_use(module: ModuleType, load: Callable[[], bool]) -> None:
    """Call ``load`` before each read of a public attribute of ``module``, until it returns True.

    Names that begin with two underscores do not count: the import system and ``inspect`` read those.
    The class of the module is changed meanwhile, and put back then.

    Args:
        module: Any imported module.
        load: Returns whether it is done; it may read the module itself.
    """
    original = type(module)

    class FirstUse(original):  # type: ignore[misc, valid-type]
        """The module, with an eye on its readers."""

        def __getattribute__(self, name: str) -> object:
            if not name.startswith("__") and load():
                module.__class__ = original
            return original.__getattribute__(self, name)

    module.__class__ = FirstUse
