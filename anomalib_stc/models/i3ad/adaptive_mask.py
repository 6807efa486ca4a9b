"""Adaptive mask (I3AD): hide what the residual calls anomalous."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.parts.checks import check, check_whole
from anomalib_stc.parts.features import GRID_STRIDE
from anomalib_stc.parts.quantile import upper_quantile


class AdaptiveMask(nn.Module):
    """Hides the cells of the features' grid whose residual, or a neighbour's, is above what normal images have.

    Args:
        normal: Share of the cells of normal images that stays below the threshold, in (0, 1): the middle of what
            is usual, .95 to .98.
        dilation: Cells around a suspicious one that are hidden with it: the border of a defect is often weak.
        area: Largest share of the image that is hidden, in (0, 1); above, the highest residuals decide.
            Training masks hide up to .6 of the image.

    Raises:
        ValueError: If one is out of range.
    """

    def __init__(self, normal: float = 0.97, dilation: int = 1, area: float = 0.5) -> None:
        super().__init__()
        check("Mask quantile", normal, 0 < normal < 1, "a share between 0 and 1, as 0.97")
        check_whole("Mask dilation", dilation, 0)
        check("Mask cap", area, 0 < area < 1, "a share between 0 and 1, as 0.5")
        self.normal = normal
        self.dilation = dilation
        self.area = area
        self.threshold: Tensor
        self.register_buffer("threshold", torch.tensor(0.0))

    @property
    def side(self) -> int:
        """Cells along a suspicious one and its neighbours."""
        return 2 * self.dilation + 1

    def most(self, size: tuple[int, ...]) -> int:
        """Return the number of cells of a height and width in pixels that may be hidden."""
        return int(self.area * ((size[0] // GRID_STRIDE) * (size[1] // GRID_STRIDE)))

    def check_size(self, size: tuple[int, ...]) -> None:
        """Raise a `ValueError` if of this height and width not even one suspicious cell and its neighbours fit in."""
        most = self.most(size)
        fits = self.side**2 <= most
        check("Mask dilation", self.dilation, fits, f"a cell and its neighbours to be at most {most} cells")

    def forward(self, cells: Tensor) -> Tensor:
        """Return masks (B, 1, H, W), 1 where hidden, from residuals of cells (B, 1, H/8, W/8).

        Raises:
            ValueError: See `check_size`.
        """
        size = (cells.shape[-2] * GRID_STRIDE, cells.shape[-1] * GRID_STRIDE)
        self.check_size(size)
        around = F.max_pool2d(cells, self.side, 1, self.dilation)
        cap = around.flatten(1).topk(self.most(size) + 1).values[:, -1, None, None, None]
        hidden = (around > torch.maximum(cap, self.threshold)).to(cells.dtype)
        return F.interpolate(hidden, scale_factor=GRID_STRIDE, mode="nearest")

    @torch.no_grad()
    def calibrate(self, cells: Tensor) -> None:
        """Set the threshold from residuals of cells (n, 1, h, w) of held-out normal images."""
        self.threshold.copy_(upper_quantile(cells, self.normal))


def cell_means(residual: Tensor) -> Tensor:
    """Return the mean (B, 1, H / 8, W / 8) of every cell of maps (B, 1, H, W)."""
    return F.avg_pool2d(residual, GRID_STRIDE)
