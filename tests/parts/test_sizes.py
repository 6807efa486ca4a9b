"""What the models take: one sentence for each way in which an image or a size does not fit, else a number in 0..1."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from anomalib_stc.parts.sizes import LEAST, SLACK, STRIDE, checked, height_and_width

F32 = torch.float32


def image(*shape: int) -> Tensor:
    return torch.rand(shape or (2, 3, 64, 80), generator=torch.Generator().manual_seed(0))


def with_one(value: float) -> Tensor:
    """An image with one pixel of another value."""
    result = image()
    result[1, 2, 5, 7] = value
    return result


WRONG: dict[str, tuple[Callable[[], Tensor], str]] = {
    "no batch": (lambda: image(3, 64, 64), r"^Image of shape \(3, 64, 64\) came where \(B, 3, H, W\) is expected"),
    "a video": (lambda: image(1, 2, 3, 64, 64), r"^Image of shape \(1, 2, 3, 64, 64\) came where"),
    "no image": (lambda: image(2, 3, 64, 64)[:0], r"^Image of shape \(0, 3, 64, 64\) came where"),
    "grey": (lambda: image(2, 1, 64, 64), r"^Image of shape \(2, 1, 64, 64\) came where"),
    "channels last": (lambda: image(2, 64, 64, 3), r"^Image of shape \(2, 64, 64, 3\) came where .* second place\.$"),
    "bytes": (
        lambda: (255 * image()).byte(),
        r"^Image of type torch.uint8 came where floating point in 0\.\.1 is .*\.$",
    ),
    "a side of 70": (lambda: image(1, 3, 70, 64), r"^Image is 70 x 64, expected multiples of 16 from 64: set .*\.$"),
    "a side of 48": (lambda: image(1, 3, 64, 48), r"^Image is 64 x 48, expected multiples of 16 from 64: set .*\.$"),
    "0..255": (
        lambda: 255 * image(),
        r"^Image has values from .* to 25\d.*, expected 0 to 1: divide what is in 0\.\.255",
    ),
    "normalised": (
        lambda: 4 * image() - 2,
        r"^Image has values from -2 to 2, expected 0 to 1: .* take Normalize out .*\.$",
    ),
    "one pixel above": (lambda: with_one(1 + 2 * SLACK), r"^Image has values from .* to 1\.002, expected"),
    "one pixel below": (lambda: with_one(-2 * SLACK), r"^Image has values from -0\.002 to"),
    "no number": (lambda: with_one(torch.nan), r"^Image has values from nan to nan, expected 0 to 1"),
    "infinite": (lambda: with_one(torch.inf), r"^Image has values from .* to inf, expected 0 to 1"),
    "normalised, in half precision": (lambda: (4 * image() - 2).half(), r"^Image has values from -2 to 2"),
}


@pytest.mark.parametrize("given", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_image_is_one_sentence(given: tuple[Callable[[], Tensor], str]) -> None:
    make, sentence = given
    with pytest.raises(ValueError, match=sentence):
        checked(make(), F32)


def test_an_image_is_given_back_as_it_is() -> None:
    assert torch.equal(checked(image(), F32), image())


def test_rounding_is_clamped() -> None:
    given = torch.stack([with_one(1 + SLACK / 2), with_one(-SLACK / 2)]).flatten(0, 1)
    found = checked(given, F32)
    assert torch.equal(found, given.clamp(0, 1))
    assert (found.min(), found.max()) == (0, 1)


@pytest.mark.parametrize("given", [torch.float64, torch.float16, torch.bfloat16, F32])
@pytest.mark.parametrize("weights", [torch.float64, torch.float16, torch.bfloat16, F32])
def test_images_take_the_type_of_the_weights(given: torch.dtype, weights: torch.dtype) -> None:
    assert checked(image().to(given), weights).dtype == weights


def test_the_gradient_goes_on_to_the_image() -> None:
    given = image().requires_grad_()
    checked(given, F32).sum().backward()
    assert torch.equal(given.grad, torch.ones_like(given))


def test_it_looks_at_the_numbers_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look waits for the device."""
    looks: list[str] = []
    for name in ("tolist", "item", "__bool__", "__float__", "__int__", "numpy", "cpu"):
        real: Any = getattr(Tensor, name)
        monkeypatch.setattr(Tensor, name, lambda *given, n=name, r=real: looks.append(n) or r(*given))
    checked(image(), F32)
    assert looks == ["tolist"]


class Checked(torch.nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return checked(image, F32)


TRACED: dict[str, Callable[[Tensor], Any]] = {
    "export": lambda example: torch.export.export(Checked(), (example,)).module(),
    "trace": lambda example: torch.jit.trace(Checked(), (example,)),
}


@pytest.mark.parametrize("trace", TRACED.values(), ids=TRACED.keys())
def test_a_graph_clamps_and_says_nothing(trace: Callable[[Tensor], Any]) -> None:
    program = trace(image())
    for given in (image(), 255 * image(), 4 * image() - 2):
        assert torch.equal(program(given), given.clamp(0, 1))


@pytest.mark.parametrize(("given", "expected"), [(256, (256, 256)), ((64, 80), (64, 80)), ([96, 64], (96, 64))])
def test_one_number_or_two_are_a_size(given: Any, expected: tuple[int, int]) -> None:
    assert height_and_width(given, STRIDE, LEAST) == expected


@pytest.mark.parametrize(
    ("given", "example"),
    [
        *[(given, 64) for given in (0, -64, 48, 70, (64, 32), (64,), (64, 64, 64), ())],
        *[(given, 64) for given in (64.5, 64.0, (64, 64.0), float("nan"), None, "64")],
        (250, 256),
    ],
)
def test_a_wrong_size_is_one_sentence(given: Any, example: int) -> None:
    sentence = rf"^Image size .* is expected, each a multiple of 16 from 64: choose for example {example}\.$"
    with pytest.raises(ValueError, match=sentence):
        height_and_width(given, STRIDE, LEAST)


def test_any_positive_size_will_do_where_nothing_is_divided() -> None:
    assert height_and_width((10, 10)) == (10, 10)
    with pytest.raises(ValueError, match=r"^Image size 0 .* each positive: choose for example 1\.$"):
        height_and_width(0)
