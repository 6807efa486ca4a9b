"""Let the command line end in the sentence that says which argument of a model is wrong.

anomalib builds a model while it parses; what a constructor raises then stands in the middle of a list of types that did
not fit, above a dump of all arguments. jsonargparse has no public place to change that, so the one function that writes
the list is wrapped: a `ValueError` of this package is raised as it is, all else as before.
"""

from functools import wraps
from typing import Any, NoReturn

from anomalib_stc.plugin.notice import warn

PACKAGE = __name__.partition(".")[0]


def raise_own_sentences() -> None:
    """Raise this package's own errors as they are, where jsonargparse would list them."""
    from jsonargparse import _typehints

    original = getattr(_typehints, "raise_union_unexpected_value", None)
    if original is None:
        warn("This jsonargparse buries what is wrong with a model's argument in a list: look under 'Errors'.")
        return

    @wraps(original)
    def tell(subtypes: Any, val: Any, exceptions: list[Exception]) -> NoReturn:
        for error in exceptions:
            if isinstance(error, ValueError) and raised_in(error) == PACKAGE:
                raise error from None
        original(subtypes, val, exceptions)
        raise AssertionError  # it has raised

    _typehints.raise_union_unexpected_value = tell


def raised_in(error: Exception) -> str:
    """Return the name of the package in which an error was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
