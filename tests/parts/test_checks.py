"""Weights by name are laid over their defaults; what does not fit is one sentence."""

import math
from typing import Any

import pytest

from anomalib_stc.parts.checks import check_positive, check_whole, merged

NUMBERS = r"^Weights are .*, expected numbers from 0 to 1e\+06, one of them positive: change them\.$"
DEFAULTS = {"a": 1.0, "b": 0.5}


def test_what_is_not_named_keeps_its_default() -> None:
    given = {"b": 0.0}
    assert merged("Weights", given, DEFAULTS) == {"a": 1.0, "b": 0.0}
    assert given == {"b": 0.0}
    assert DEFAULTS == {"a": 1.0, "b": 0.5}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"c": 1.0, "d": 2.0}, r"^Weights has c, d, expected some of a, b: correct the name\.$"),
        ({"a": -0.1}, NUMBERS),
        ({"a": 0.0, "b": 0.0}, NUMBERS),
        ({"a": math.nan}, NUMBERS),
        ({"a": math.inf}, NUMBERS),
        ({"a": 1e39}, NUMBERS),
    ],
)
def test_what_does_not_fit_is_one_sentence(given: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        merged("Weights", given, DEFAULTS)


@pytest.mark.parametrize("given", [1, True, 10**9])
def test_whole_numbers(given: int) -> None:
    check_whole("Items", given)


@pytest.mark.parametrize("given", [0, -1, 1.5, 2.0, math.nan, math.inf, "3", None])
def test_what_is_no_whole_number_is_one_sentence(given: Any) -> None:
    with pytest.raises(ValueError, match=rf"^Items came as {given}, expected a whole number, 1 or more\.$"):
        check_whole("Items", given)


@pytest.mark.parametrize("given", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_what_is_not_positive_is_one_sentence(given: float) -> None:
    with pytest.raises(ValueError, match=rf"^Width came as {given}, expected a finite number above 0, as 2\.0\.$"):
        check_positive("Width", given, 2.0)
