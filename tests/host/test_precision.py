"""Scores are computed in 32 bit, and what the user had set is set again, by either of torch's two kinds of switches."""

from collections.abc import Iterator

import pytest
import torch

from anomalib_stc.host.precision import SWITCHES, full_precision

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Set all switches back."""
    generic, before = torch.backends.fp32_precision, [switch.fp32_precision for switch in SWITCHES]
    yield
    torch.backends.fp32_precision = generic
    for switch, precision in zip(SWITCHES, before, strict=True):
        switch.fp32_precision = precision


def precisions() -> list[str]:
    return [switch.fp32_precision for switch in SWITCHES]


def test_by_the_old_switch() -> None:
    torch.set_float32_matmul_precision("medium")
    with torch.autocast("cpu", torch.bfloat16), full_precision(CPU):
        assert torch.get_float32_matmul_precision() == "highest"
        assert (torch.eye(2) @ torch.eye(2)).dtype == torch.float32
    assert torch.get_float32_matmul_precision() == "medium"
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("generic", [True, False])
def test_by_the_new_switches(generic: bool) -> None:
    if generic:
        torch.backends.fp32_precision = "tf32"
    else:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    before = precisions()
    with full_precision(CPU):
        assert set(precisions()) == {"ieee"}
    assert precisions() == before


def test_an_error_leaves_them_as_they_were() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    before = precisions()
    with pytest.raises(ZeroDivisionError), full_precision(CPU):
        raise ZeroDivisionError
    assert precisions() == before
