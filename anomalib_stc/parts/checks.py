"""Checks of arguments: one sentence says what came and what was expected."""

from collections.abc import Iterable, Mapping
from math import inf
from numbers import Integral
from typing import Final

MOST: Final = 1e6  # of a weight: in single precision, larger ones would end as infinite


def check(what: str, given: object, fits: bool, expected: str) -> None:
    """Raise a `ValueError` that says what came and what was expected, unless it fits."""
    if not fits:
        msg = f"{what} came as {given}, expected {expected}."
        raise ValueError(msg)


def check_whole(what: str, given: object, least: int = 1) -> None:
    """Raise a `ValueError` unless a number is whole and not below the least."""
    check(what, given, isinstance(given, Integral) and int(given) >= least, f"a whole number, {least} or more")


def check_positive(what: str, given: float, example: float) -> None:
    """Raise a `ValueError` unless a number is finite and above 0."""
    check(what, given, 0 < given < inf, f"a finite number above 0, as {example}")


def check_known(name: str, value: str, known: Iterable[str]) -> None:
    """Raise a `ValueError` unless a value is one of those known."""
    known = list(known)
    if value not in known:
        msg = f"{name} is '{value}', expected one of {', '.join(known)}: choose one of these."
        raise ValueError(msg)


def merged(name: str, given: Mapping[str, float], defaults: Mapping[str, float]) -> dict[str, float]:
    """Return default weights with those given laid over them: what is not named keeps its default.

    Args:
        name: What the weights are of, for the sentence.
        given: Some of the weights, or all.
        defaults: All weights.

    Raises:
        ValueError: If a name is unknown, a weight is negative or not finite, or none is positive.
    """
    if unknown := sorted(set(given) - set(defaults)):
        msg = f"{name} has {', '.join(unknown)}, expected some of {', '.join(defaults)}: correct the name."
        raise ValueError(msg)
    weights = {**defaults, **given}
    check_weights(name, weights)
    return weights


def check_weights(name: str, weights: Mapping[str, float]) -> None:
    """Raise a `ValueError` unless all weights are numbers that are not negative, and one is positive."""
    if not (all(0 <= weight <= MOST for weight in weights.values()) and any(weights.values())):
        msg = f"{name} are {dict(weights)}, expected numbers from 0 to {MOST:.0e}, one of them positive: change them."
        raise ValueError(msg)
