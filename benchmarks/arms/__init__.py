"""Arms of ablations: the models with parts swapped, which their constructors have no arguments for.

An arm is a function of keyword arguments, those of the model and maybe some of its own, that returns a model. A
configuration names it as ``model: arms.stcm.no_memory``.
"""

from collections.abc import Callable
from typing import Final

from anomalib.models import AnomalibModule

from anomalib_stc.parts.checks import check_known
from benchmarks.arms import i3ad, proxy_ano, stcm

Arm = Callable[..., AnomalibModule]

FUNCTIONS: Final[dict[str, tuple[Arm, ...]]] = {
    "stcm": (stcm.autoencoder, stcm.no_memory, stcm.semantic_only, stcm.mean_fusion),
    "proxy_ano": (proxy_ano.no_memory, proxy_ano.proxy),
    "i3ad": (i3ad.autoencoder, i3ad.no_skips, i3ad.masked_by, i3ad.aggregation),
}
PREFIX: Final = "arms."
ARMS: Final = {
    f"{PREFIX}{model}.{function.__name__}": function for model, functions in FUNCTIONS.items() for function in functions
}


def is_arm(name: str) -> bool:
    """Return whether a configuration's model is meant to be an arm, known or not."""
    return name.startswith(PREFIX)


def arm(name: str) -> Arm:
    """Return an arm by its name, as ``arms.stcm.no_memory``.

    Raises:
        ValueError: If there is no such arm.
    """
    check_known("Arm", name, ARMS)
    return ARMS[name]
