"""Weights by name are laid over their defaults; what does not fit is one sentence."""

import pytest

from anomalib_stc.parts.checks import merged

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
        ({"a": -0.1}, r"^Weights are .*, expected none negative and one positive: raise one of them\.$"),
        ({"a": 0.0, "b": 0.0}, r"^Weights are .*, expected none negative and one positive: raise one of them\.$"),
    ],
)
def test_what_does_not_fit_is_one_sentence(given: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        merged("Weights", given, DEFAULTS)
