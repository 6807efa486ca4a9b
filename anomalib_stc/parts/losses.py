"""Losses: named, weighted terms of the generator, and the game that it may play with a discriminator."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from anomalib_stc.parts.discriminator import LEAST_SQUARES, Game, PatchDiscriminator, adversarial_losses
from anomalib_stc.parts.sizes import within

Terms = dict[str, Callable[[], Tensor]]


class Losses(nn.Module, ABC):
    """Terms of the generator and of the discriminator, ready to be summed and sent back in one pass.

    Args:
        weights: Weight of every term and of ``adversarial``; zero switches off.
        bias: See `PatchDiscriminator`.
    """

    game: ClassVar[Game] = LEAST_SQUARES

    def __init__(self, weights: Mapping[str, float], bias: bool = True) -> None:
        super().__init__()
        self.weights = dict(weights)
        self.zero: Tensor
        self.register_buffer("zero", torch.zeros(()), persistent=False)  # has the weights' type and device
        self.discriminator = PatchDiscriminator(bias=bias) if weights["adversarial"] else None

    @abstractmethod
    def terms(self, image: Tensor, learnt: Any, original: Tensor, rebuilt: Tensor) -> Terms:
        """Return every term but the adversarial one by its name, to be computed where it has a weight.

        Args:
            image: Normal images (B, 3, H, W) in [0, 1].
            learnt: What the model learnt of them.
            original: The images in the window (B, 3, h, w).
            rebuilt: The reconstructions there.
        """

    def forward(self, image: Tensor, learnt: Any) -> dict[str, Tensor]:
        """Return the weighted terms by name; those with weight zero are neither computed nor returned.

        Args:
            image: Normal images (B, 3, H, W) in [0, 1], of any floating type.
            learnt: What the model learnt of them; it has a ``reconstruction`` (B, 3, H, W), and the ``window`` of it
                that the discriminator looks at.

        Raises:
            ValueError: If a term is not finite; the sentence names it.
        """
        image = within(image, self.zero.dtype)
        window = image[learnt.window], learnt.reconstruction[learnt.window]
        terms = {
            name: self.weights[name] * term()
            for name, term in self.terms(image, learnt, *window).items()
            if self.weights[name] != 0
        }
        if self.discriminator is not None:
            terms |= adversarial_losses(self.discriminator, self.weights["adversarial"], *window, self.game)
        check_finite(terms)
        return terms


def check_finite(terms: Mapping[str, Tensor]) -> None:
    """Raise a `ValueError` that names the first term that is not finite."""
    if torch.stack(list(terms.values())).isfinite().all():  # one look at the device's numbers a step
        return
    name, term = next((name, term) for name, term in terms.items() if not term.isfinite())
    msg = f"Loss '{name}' is {term.item()}, expected a finite number: lower learning_rate, or look at the images."
    raise ValueError(msg)
