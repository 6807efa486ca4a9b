"""How far a place of an image is from the rest of the image: nothing is remembered, and nothing trained.

What stands out from its surroundings catches the eye (Itti, Koch and Niebur, PAMI 1998), and so does what has not the
colour of the image as a whole (Achanta et al., CVPR 2009). How much of that is normal, a score's curves say.
"""

from typing import Final

from torch import Tensor
from torch.nn import functional as F

from anomalib_stc.parts.features import Seen
from anomalib_stc.parts.sizes import CELL, neighbours, resize_maps

NEAR: Final = "contrast_near"
IMAGE: Final = "contrast_image"
TEXTURE: Final = "contrast_texture"
CONTRASTS: Final = (NEAR, IMAGE, TEXTURE)
COARSE: Final = 4  # cells of a side of the parts that surroundings are made of
FAR: Final = 3  # of these on each side: 112 pixels in all; 80 were a little worse


def contrast(name: str, seen: Seen) -> Tensor:
    """Return how far every cell of 4 pixels (B, 1, H/4, W/4) is from its surroundings or from the image's median.

    Args:
        name: Colours from those around (``contrast_near``), colours from the image's (``contrast_image``), the finest
            features from those around (``contrast_texture``).
        seen: Images and their features.
    """
    if name == TEXTURE:
        return (seen.fine - around(seen.fine)).square().sum(1, keepdim=True)
    colours = F.avg_pool2d(seen.image, CELL)
    usual = around(colours) if name == NEAR else medians(colours)[..., None, None]
    return (colours - usual).abs().mean(1, keepdim=True)


def around(maps: Tensor) -> Tensor:
    """Return the means of the surroundings of every place of maps (B, C, h, w); what is beyond a border is left out."""
    return resize_maps(neighbours(F.avg_pool2d(maps, COARSE), FAR), maps.shape[-2:])


def medians(maps: Tensor) -> Tensor:
    """Return the medians (B, C) of maps (B, C, h, w), of cells twice as wide: a fourth of the time, and all but equal.

    Of an even number of cells it is the lower one of the two in the middle.
    """
    flat = F.avg_pool2d(maps, 2).flatten(2)
    return flat.topk(flat.shape[2] // 2 + 1, dim=2).values[..., -1]
