"""Small pictures as data URIs: images, masks, and maps in one scale of colours."""

import base64
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

SIDE = 128  # pixels of the longer side, so that six sets with four models stay at some megabytes
QUALITY = 85
SCALE = np.array(  # from normal to anomalous, with lightness rising evenly, so that it reads in grey too
    [[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]], dtype=float
)


def shrink(picture: Image.Image) -> Image.Image:
    """Return a picture in RGB whose longer side is `SIDE`."""
    return ImageOps.contain(picture.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS)


def shrink_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return a mask of a size in which a defect of one pixel still shows."""
    found = mask.convert("L").point(lambda value: 255 if value else 0)
    return found.resize(size, Image.Resampling.BOX).point(lambda value: 255 if value else 0)


def colour_map(values: np.ndarray, low: float, high: float, size: tuple[int, int]) -> Image.Image:
    """Return a map (h, w) in colours from ``low`` to ``high``, at a size (width, height)."""
    shares = np.clip((values.astype(np.float32) - low) / max(high - low, 1e-12), 0, 1)
    shares = np.asarray(Image.fromarray(shares).resize(size, Image.Resampling.BILINEAR))
    stops = np.linspace(0, 1, len(SCALE))
    channels = [np.interp(shares, stops, SCALE[:, channel]) for channel in range(3)]
    return Image.fromarray(np.stack(channels, axis=-1).round().astype(np.uint8))


def data_uri(picture: Image.Image) -> str:
    """Return a picture as a JPEG, a mask as a PNG, inside its own address."""
    kind = "png" if picture.mode == "L" else "jpeg"
    buffer = BytesIO()
    picture.save(buffer, kind, optimize=True, quality=QUALITY)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
