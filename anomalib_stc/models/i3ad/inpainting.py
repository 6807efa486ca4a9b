"""Inpainting network (I3AD): gated convolutions (Yu et al., *DeepFill v2*, ICCV 2019), one stage, a U-Net."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.models.i3ad.adaptive_mask import cell_means
from anomalib_stc.parts.blocks import PADDING, quiet, shuffle_block
from anomalib_stc.parts.checks import check
from anomalib_stc.parts.rounding import EPSILON
from anomalib_stc.parts.sizes import neighbours, resize_maps

CELL = 4  # pixels of the side of a cell of the first layer: full resolution would cost most of the time
COARSE = 16  # pixels of the side of a cell of the illumination: larger than small defects
FAR = 3  # such cells on each side whose colours the illumination of a hidden cell is taken from
GAIN = 64  # of the means' weights: the least of them is then far from vanishing in half precision

LEVELS = 3
DOUBT = -3.0  # logarithm of an error of .05, to begin with


class Filled(NamedTuple):
    """What the network says of every place, hidden or not."""

    image: Tensor  # (B, 3, H, W)
    guess: Tensor  # (B, N, H/8, W/8): logits of the cluster of normal features that it expects there
    doubt: Tensor  # (B, 1, H/8, W/8): logarithm of the error that it expects of its colours


class GatedBlock(nn.Module):
    """ELU of half of the channels times the sigmoid of the other half, normalised.

    Takes features (B, channels, H, W), returns (B, out_channels, H / stride, W / stride).
    """

    def __init__(self, channels: int, out_channels: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels, 2 * out_channels, 3, stride, padding=dilation, dilation=dilation, padding_mode=PADDING
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Return gated features."""
        value, gate = self.conv(features).chunk(2, 1)
        return self.norm(F.elu(value) * gate.sigmoid())


class Inpainting(nn.Module):
    """Fills hidden pixels from visible ones.

    Args:
        items: Clusters of normal features, of which it guesses one for every cell.
        widths: Channels at strides 4, 8 and 16; full resolution would cost most of the time.
        dilations: Of the convolutions at stride 16, which look far.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        items: int,
        widths: Sequence[int] = (32, 64, 96),
        dilations: Sequence[int] = (1, 2, 4),
    ) -> None:
        super().__init__()
        check("Widths", tuple(widths), len(widths) == LEVELS and min(widths) > 0, "three numbers of channels")
        check("Dilations", tuple(dilations), min(dilations, default=1) > 0, "numbers above 0, as 1, 2, 4")
        self.skips = 1.0  # 0: all but the illumination goes through the coarsest layer
        fine, middle, coarse = widths
        self.fine = GatedBlock(4 * CELL**2, fine)
        self.middle = GatedBlock(fine, middle, stride=2)
        self.coarse = nn.Sequential(
            GatedBlock(middle, coarse, stride=2),
            *(GatedBlock(coarse, coarse, dilation=dilation) for dilation in dilations),
        )
        self.up_to_middle = GatedBlock(coarse + middle, middle)
        self.up_to_fine = GatedBlock(middle + fine, fine)
        self.to_guess = nn.Conv2d(middle, items + 1, 1)
        self.to_image = quiet(shuffle_block(fine, 3, CELL))

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return images in which hidden pixels are filled, and all others are those of the input, bit for bit.

        Args:
            image: Images (B, 3, H, W) in [0, 1], sides multiples of 16; hidden pixels are not looked at.
            mask: 1 where hidden, 0 elsewhere (B, 1, H, W).
        """
        return composite(image, mask, self.fill(image, mask).image)

    def fill(self, image: Tensor, mask: Tensor) -> Filled:
        """Return what the network says of every place, from visible pixels only."""
        visible = torch.where(mask > 0, torch.zeros_like(image), image)
        fine = self.fine(F.pixel_unshuffle(torch.cat([visible, mask], 1), CELL))
        middle = self.middle(fine)
        filled = self.up_to_middle(torch.cat([twice(self.coarse(middle)), self.skips * middle], 1))
        detail = self.to_image(self.up_to_fine(torch.cat([twice(filled), self.skips * fine], 1)))
        expected = self.to_guess(filled)
        return Filled(illumination(visible, mask) + detail, expected[:, :-1], expected[:, -1:])

    @torch.no_grad()
    def expect(self, frequency: Tensor) -> None:
        """Begin with the frequency (N,) of the clusters as guess: what is seen is added by training."""
        weight, bias = self.to_guess.parameters()
        weight.mul_(0.3)
        bias.copy_(torch.cat([frequency.log(), bias.new_tensor([DOUBT])]))


def illumination(visible: Tensor, mask: Tensor) -> Tensor:
    """Return the colours around every place (B, 3, H, W): means of visible pixels, the nearer ones if there are any.

    Args:
        visible: Images (B, 3, H, W), 0 where hidden.
        mask: 1 where hidden (B, 1, H, W).
    """
    seen = GAIN * F.avg_pool2d(torch.cat([visible, 1 - mask], 1), COARSE)
    everywhere = seen.mean((2, 3), keepdim=True)
    around = neighbours(seen, FAR)
    total = seen + 1e-2 * around + 1e-4 * everywhere
    return resize_maps(total[:, :3] / total[:, 3:].clamp(min=EPSILON), visible.shape[-2:])


def twice(features: Tensor) -> Tensor:
    """Double the resolution of features (B, C, H, W)."""
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


def composite(image: Tensor, mask: Tensor, filled: Tensor) -> Tensor:
    """Return images (B, 3, H, W) with what was filled where masks (B, 1, H, W) are 1, and themselves elsewhere."""
    return torch.where(mask > 0, filled, image)


def colour_error(image: Tensor, other: Tensor) -> Tensor:
    """Return the L1 difference of images (B, 3, H, W), the mean of every cell of the guess (B, 1, H/8, W/8)."""
    return cell_means((image - other).abs().mean(1, keepdim=True))
