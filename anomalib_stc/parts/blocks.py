"""Convolution blocks of P-Net (ECCV 2020): 3x3 convolution, batch normalisation, ReLU."""

from typing import Final

import torch
from torch import nn

PADDING: Final = "replicate"  # zeros outside the image would draw an edge that the anomaly map then shows


def conv_block(in_channels: int, out_channels: int, stride: int = 1, kernel_size: int = 3) -> nn.Sequential:
    """Convolution, batch normalisation and ReLU; (B, in_channels, H, W) to (B, out_channels, H/stride, W/stride)."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, padding_mode=PADDING, bias=False
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def up_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Bilinear upsampling by two, then a block; (B, in_channels, H, W) to (B, out_channels, 2H, 2W)."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        conv_block(in_channels, out_channels),
    )


def shuffle_block(in_channels: int, out_channels: int, factor: int) -> nn.Sequential:
    """Convolution and pixel shuffle; (B, in_channels, H, W) to (B, out_channels, factor H, factor W).

    All pixels of a cell start with the same weights (ICNR, Aitken et al., 2017), else the grid of cells shows.
    """
    cell = factor**2
    conv = nn.Conv2d(in_channels, out_channels * cell, 3, padding=1, padding_mode=PADDING)
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.copy_(parameter[::cell].repeat_interleave(cell, 0))
    return nn.Sequential(conv, nn.PixelShuffle(factor))


def quiet(head: nn.Module) -> nn.Module:
    """Let a head that adds to something else begin with a tenth of its usual output; returns the same head."""
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(0.1)
    return head
