"""Checks of arguments: one sentence says what came and what was expected."""

from collections.abc import Iterable, Mapping


def check_known(name: str, value: str, known: Iterable[str]) -> None:
    """Raise a `ValueError` unless a value is one of those known."""
    known = list(known)
    if value not in known:
        msg = f"{name} is '{value}', expected one of {', '.join(known)}: choose one of these."
        raise ValueError(msg)


def check_weights(name: str, weights: Mapping[str, float]) -> dict[str, float]:
    """Return weights as they are, or raise a `ValueError` if one is negative or none is positive."""
    if not (all(weight >= 0 for weight in weights.values()) and any(weights.values())):
        msg = f"{name} are {dict(weights)}, expected none negative and one positive: raise one of them."
        raise ValueError(msg)
    return dict(weights)


def check(what: str, given: object, fits: bool, expected: str) -> None:
    """Raise a `ValueError` that says what came and what was expected, unless it fits."""
    if not fits:
        msg = f"{what} came as {given}, expected {expected}."
        raise ValueError(msg)
