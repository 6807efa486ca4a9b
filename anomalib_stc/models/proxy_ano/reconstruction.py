"""Image Reconstruction Module (ProxyAno): from a proxy to the image, a U-Net at strides 4, 8 and 16."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.parts.blocks import conv_block, quiet, shuffle_block, up_block
from anomalib_stc.parts.sizes import resize_maps

CELL = 4  # pixels of the side of a cell of the first layer: full resolution would cost most of the time
COARSE = 16  # pixels of the side of a cell whose mean colour is kept: larger than small defects


class ImageReconstruction(nn.Module):
    """Rebuilds images from their proxies.

    Args:
        widths: Channels at strides 4, 8 and 16; they take half the time of a forward pass.
    """

    def __init__(self, widths: tuple[int, int, int] = (32, 48, 64)) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.fine = nn.Sequential(nn.PixelUnshuffle(CELL), conv_block(3 * CELL**2, fine))
        self.middle = conv_block(fine, middle, stride=2)
        self.coarse = nn.Sequential(conv_block(middle, coarse, stride=2), conv_block(coarse, coarse))
        self.up_to_middle = up_block(coarse, middle)
        self.up_to_fine = up_block(2 * middle, fine)
        self.to_image = quiet(shuffle_block(2 * fine, 3, CELL))

    def forward(self, proxy: Tensor) -> Tensor:
        """Return images (B, 3, H, W) from proxies (B, 3, H, W), sides multiples of 16."""
        fine = self.fine(proxy)
        middle = self.middle(fine)
        rebuilt = self.up_to_middle(self.coarse(middle))
        rebuilt = self.up_to_fine(torch.cat([rebuilt, middle], 1))
        return illumination(proxy) + self.to_image(torch.cat([rebuilt, fine], 1))


def illumination(proxy: Tensor) -> Tensor:
    """Return the illumination (B, 3, H, W) of proxies of that shape: means over cells of 16 x 16 pixels, in between."""
    return resize_maps(F.avg_pool2d(proxy, COARSE), proxy.shape[-2:])
