"""Patch discriminator with spectral normalisation (P-Net, ECCV 2020, code of the authors)."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Says of every patch whether it is real; 4x4 convolutions with stride 2, then one logit a patch.

    Args:
        widths: Channels of the layers of stride 2, the first at full resolution.
        bias: Of the logits. Hinge losses go without: where no patch is beyond the margin, its gradients cancel.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128), bias: bool = True) -> None:
        super().__init__()
        self.plan = {"widths": tuple(widths), "bias": bias}
        layers: list[nn.Module] = []
        for channels, width in zip((3, *widths[:-1]), widths, strict=True):
            layers += [spectral_norm(nn.Conv2d(channels, width, 4, 2, 1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 3, 1, 1, bias=bias)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the plan and the weights: what spectral normalisation makes of a layer cannot be pickled."""
        return rebuilt, (self.plan, self.training, next(self.parameters()).requires_grad, self.state_dict())

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (B, 1, H / 2^n, W / 2^n) of images (B, 3, H, W) in [0, 1]."""
        return self.layers(image)

    def frozen(self, image: Tensor) -> Tensor:
        """Return the same logits with gradient to the image only: what the generator's loss needs.

        Both players' losses can then share one backward pass: the generator's part leaves no gradient here.
        """
        weights = {name: weight.detach() for name, weight in self.named_parameters()}
        return functional_call(self, weights, (image,))


def rebuilt(plan: dict[str, Any], training: bool, learns: bool, state: dict[str, Tensor]) -> PatchDiscriminator:
    """Return a discriminator from what its pickle holds; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        discriminator = PatchDiscriminator(**plan).to(next(iter(state.values())))
    discriminator.load_state_dict(state)
    return discriminator.train(training).requires_grad_(learns)


class Game(NamedTuple):
    """What the players pay for the logit of every patch."""

    generator: Callable[[Tensor], Tensor]  # for its own patches
    real: Callable[[Tensor], Tensor]  # the discriminator, for real ones
    fake: Callable[[Tensor], Tensor]  # and for the generator's


LEAST_SQUARES: Final = Game(lambda fake: (fake - 1).square(), lambda real: (real - 1).square(), torch.square)
HINGE: Final = Game(torch.neg, lambda real: (1 - real).relu(), lambda fake: (1 + fake).relu())  # SN-PatchGAN


def adversarial_losses(
    discriminator: PatchDiscriminator, weight: float, image: Tensor, reconstruction: Tensor, game: Game
) -> dict[str, Tensor]:
    """Return the losses of both players; the generator's leaves no gradient in the discriminator.

    Args:
        discriminator: The discriminator.
        weight: Weight of the generator's loss.
        image: Real images (B, 3, H, W) in [0, 1].
        reconstruction: The generator's (B, 3, H, W).
        game: What the players pay: `LEAST_SQUARES` or `HINGE`.
    """
    real, fake = discriminator(image), discriminator(reconstruction.detach())
    return {
        "adversarial": weight * game.generator(discriminator.frozen(reconstruction)).mean(),
        "discriminator": (game.real(real).mean() + game.fake(fake).mean()) / 2,
    }
