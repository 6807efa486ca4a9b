"""The models that installed packages declare in the entry-point group ``anomalib.models``."""

import sys
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from anomalib_stc.plugin.names import NameTakenError, fold, full_name, public_names
from anomalib_stc.plugin.notice import warn

GROUP = "anomalib.models"
SWITCH = "ANOMALIB_STC_AUTOLOAD"


class ModelRegistry:
    """Loads every declared model once, sets it on ``anomalib.models``, and knows it by name.

    A model that fails to load, or whose name is taken, is left out with one warning.
    """

    def __init__(self, models: ModuleType) -> None:
        self.models = models
        self.taken = public_names(models)
        self.waiting = declared()
        self.paths: dict[str, str] = {}  # folded name -> class path

    def load(self) -> bool:
        """Load what can be loaded now; return whether nothing is left waiting.

        A model waits while anomalib or its own package is in the middle of being imported.
        """
        if not self.waiting or _being_imported("anomalib"):
            return not self.waiting
        ready = [entry for entry in self.waiting if not _being_imported(_package(entry))]
        self.waiting = [entry for entry in self.waiting if entry not in ready]
        for entry in ready:
            self._load(entry)
        return not self.waiting

    def class_path(self, name: str) -> str | None:
        """Return the class path of the model with this name in any spelling (``proxy_ano``, ``ProxyAno``)."""
        self.load()
        return self.paths.get(fold(name))

    def _load(self, entry: EntryPoint) -> None:
        try:
            self._add(entry)
        except (Exception, SystemExit) as error:
            cause = str(error) if isinstance(error, NameTakenError) else f"{type(error).__name__}: {error}"
            package = entry.dist.name if entry.dist else "unknown"
            warn(
                f"anomalib goes on without the model {entry.name!r} of the package {package}: {cause}. "
                f"Set {SWITCH}=0 to load no such models.",
            )

    def _add(self, entry: EntryPoint) -> None:
        path = entry.value.replace(":", ".")
        imported = getattr(sys.modules.get(entry.module), entry.attr, None)
        names = {fold(entry.name), fold(entry.attr)}
        self._check_free(names, path, imported)
        model = entry.load()
        if not (isinstance(model, type) and issubclass(model, self.models.AnomalibModule)):
            msg = f"{path} is not a subclass of AnomalibModule"
            raise TypeError(msg)
        names.add(fold(model.__name__))
        self._check_free(names, path, model)
        for module in places(self.models):
            setattr(module, model.__name__, model)
        self.taken.update(dict.fromkeys(names, model))
        self.paths.update(dict.fromkeys(names, path))

    def _check_free(self, names: set[str], path: str, model: object) -> None:
        for name in sorted(names & self.taken.keys()):
            if self.taken[name] is not model:
                raise NameTakenError(path, full_name(self.taken[name]))


def places(models: ModuleType) -> list[ModuleType]:
    """Return the modules in which anomalib's own image models are found: programs import them from both."""
    image = sys.modules.get(f"{models.__name__}.image")
    return [models, *([image] if image is not None else [])]


def declared() -> list[EntryPoint]:
    """Return the entry points of the group, in an order that does not depend on the file system."""
    unique = {(entry.dist.name if entry.dist else "", entry.name): entry for entry in entry_points(group=GROUP)}
    return [unique[key] for key in sorted(unique)]


def _package(entry: EntryPoint) -> str:
    return entry.value.partition(":")[0].partition(".")[0]


def _being_imported(package: str) -> bool:
    """Return whether a module of the package has begun, and not ended, its execution."""
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == package]
    return any(getattr(getattr(module, "__spec__", None), "_initializing", False) for module in modules)
