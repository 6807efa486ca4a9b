"""Inpainting network (I3AD): gated convolutions (Yu et al., *DeepFill v2*, ICCV 2019), one stage, a U-Net."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.components.blocks import PADDING, shuffle_block

CELL = 4  # pixels of the side of a cell of the first layer: full resolution would cost most of the time


class GatedBlock(nn.Module):
    """ELU of one half of the channels times the sigmoid of the other, normalised; (B, C, H, W) to (B, out, H/s, W/s)."""

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
        widths: Channels at strides 4, 8 and 16.
        dilations: Of the convolutions at stride 16, which look far.
    """

    def __init__(self, widths: Sequence[int], dilations: Sequence[int] = (1, 2, 4)) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.fine = GatedBlock(4 * CELL**2, fine)
        self.middle = GatedBlock(fine, middle, stride=2)
        self.coarse = nn.Sequential(
            GatedBlock(middle, coarse, stride=2),
            *(GatedBlock(coarse, coarse, dilation=dilation) for dilation in dilations),
        )
        self.up_to_middle = GatedBlock(coarse + middle, middle)
        self.up_to_fine = GatedBlock(middle + fine, fine)
        self.to_image = shuffle_block(fine, 3, CELL)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return images in which hidden pixels are filled, and all others are those of the input, bit for bit.

        Args:
            image: Images (B, 3, H, W) in [0, 1], sides multiples of 16; hidden pixels are not looked at.
            mask: 1 where hidden, 0 elsewhere (B, 1, H, W).
        """
        return torch.where(mask > 0, self.fill(image, mask), image)

    def fill(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return what the network says of every pixel (B, 3, H, W), from visible ones only."""
        visible = torch.where(mask > 0, torch.zeros_like(image), image)
        fine = self.fine(F.pixel_unshuffle(torch.cat([visible, mask], 1), CELL))
        middle = self.middle(fine)
        filled = self.up_to_middle(torch.cat([twice(self.coarse(middle)), middle], 1))
        return self.to_image(self.up_to_fine(torch.cat([twice(filled), fine], 1)))


def twice(features: Tensor) -> Tensor:
    """Double the resolution of features (B, C, H, W)."""
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
