"""Wait for the import of ``anomalib.models``, then hand it to ``anomalib_stc.plugin``.

Installed at the top of site-packages and run at every start of Python by the ``.pth`` file beside it (by the
``.start`` file from Python 3.15 on, PEP 829). It therefore imports nothing that Python has not loaded already.
"""

import os
import sys

TARGET = "anomalib.models"
SWITCH = "ANOMALIB_STC_AUTOLOAD"


class ModelsHook:
    """A finder that lets all others find the target, acts once after it has run, and is gone."""

    def find_spec(self, fullname, path=None, target=None):
        """Return the others' spec of the target, its loader followed; ``None`` for any other module."""
        if fullname != TARGET:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                self._follow(spec.loader)
                return spec
        return None

    def _follow(self, loader):
        execute = loader.exec_module

        def exec_module(module):
            vars(loader).pop("exec_module", None)  # first: a zip archive's loader serves other modules too
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                hand_over(module)

        loader.exec_module = exec_module


def hand_over(module):
    """Give the freshly imported host module to the plugin; never raise, and say nothing if the plugin is gone."""
    try:
        from anomalib_stc.plugin import attach

        attach(module)
    except Exception as error:
        if getattr(error, "name", None) not in ("anomalib_stc", "anomalib_stc.plugin"):
            import logging

            logging.getLogger(__name__).warning(
                "The models of other packages were not added to anomalib: %s: %s. Set %s=0 to switch this off.",
                type(error).__name__,
                error,
                SWITCH,
            )


def install():
    """Put the hook in place, once, unless ``ANOMALIB_STC_AUTOLOAD`` is 0, false, no or off."""
    if os.environ.get(SWITCH, "").lower() in {"0", "false", "no", "off"}:
        return
    if TARGET in sys.modules or any(type(finder) is ModelsHook for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, ModelsHook())
