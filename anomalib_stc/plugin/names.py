"""How names of models are compared, and what happens when two are the same."""

from types import ModuleType


class NameTakenError(ValueError):
    """Two models claim one name.

    Args:
        path: The class path of the model that came second.
        holder: The full name of what holds the name.
    """

    def __init__(self, path: str, holder: str) -> None:
        super().__init__(f"its name is taken by {holder}, so {path} answers to this full class path only")


def fold(name: str) -> str:
    """Return the spelling in which names are compared: ``proxy_ano``, ``Proxy-Ano``, ``ProxyAno`` are one name."""
    return name.replace("_", "").replace("-", "").casefold()


def public_names(module: ModuleType) -> dict[str, object]:
    """Return what a module holds, by folded name; names that begin with an underscore are left out."""
    return {fold(name): value for name, value in vars(module).items() if not name.startswith("_")}


def full_name(value: object) -> str:
    """Return the dotted name of a class, a function or a module, and the ``repr`` of anything else."""
    name = getattr(value, "__qualname__", None)
    return f"{getattr(value, '__module__', '?')}.{name}" if name else getattr(value, "__name__", repr(value))
