"""Checks of arguments: one sentence says what came and what was expected."""

from collections.abc import Iterable, Mapping


def check(what: str, given: object, fits: bool, expected: str) -> None:
    """Raise a `ValueError` that says what came and what was expected, unless it fits."""
    if not fits:
        msg = f"{what} came as {given}, expected {expected}."
        raise ValueError(msg)


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
        ValueError: If a name is unknown, a weight is negative, or none is positive.
    """
    if unknown := sorted(set(given) - set(defaults)):
        msg = f"{name} has {', '.join(unknown)}, expected some of {', '.join(defaults)}: correct the name."
        raise ValueError(msg)
    weights = {**defaults, **given}
    if not (all(weight >= 0 for weight in weights.values()) and any(weights.values())):
        msg = f"{name} are {weights}, expected none negative and one positive: raise one of them."
        raise ValueError(msg)
    return weights
