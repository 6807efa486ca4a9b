"""The picture of a test run: image, proxy, reconstruction, anomaly map and mask side by side, turns below."""

from pathlib import Path
from typing import Any

import torch
from anomalib.data import ImageBatch, ImageItem, NumpyImageBatch, NumpyImageItem
from anomalib.utils.path import generate_output_filename
from anomalib.visualization import ImageVisualizer
from anomalib.visualization.image.functional import (
    add_text_to_image,
    create_image_grid,
    visualize_anomaly_map,
    visualize_image,
)
from anomalib.visualization.image.item_visualizer import visualize_image_item
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch import Tensor

Item = ImageItem | NumpyImageItem
Batch = ImageBatch | NumpyImageBatch


OWN_FIELDS = {"proxy": "Proxy", "reconstruction": "Reconstruction"}  # and what is written on their panels


class ReconstructionVisualizer(ImageVisualizer):
    """anomalib's image visualizer with more fields: ``proxy``, ``reconstruction``, and ``turns`` as rows below.

    anomalib draws a field by a function of its own module and can be given no other; every other field and overlay
    is drawn by anomalib as usual. A field that an item does not have, such as the mask of an image without ground
    truth or the proxy of a model without one, is left out of its picture.

    Args:
        fields: Panels from left to right; image, proxy, reconstruction, anomaly map and ground truth mask if None.
            Turns, if among them or if None, are rows of image, mask, image and map below.
        overlay_fields: Further panels of one field drawn over another; the predicted mask's contour over the image
            if None.
        **kwargs: Sizes, colours and texts as of anomalib's ``ImageVisualizer``.
    """

    def __init__(
        self,
        fields: list[str] | None = None,
        overlay_fields: list[tuple[str, list[str]]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            fields=fields or ["image", "proxy", "reconstruction", "anomaly_map", "gt_mask", "turns"],
            overlay_fields=overlay_fields or [("image", ["pred_mask"])],
            **kwargs,
        )

    def visualize(self, predictions: Item | Batch) -> Image.Image | list[Image.Image | None] | None:
        """Draw one item, or each item of a batch; a batch of one gives one picture as an item does."""
        if isinstance(predictions, Item):
            return self._picture(predictions)
        if not isinstance(predictions, Batch):
            return super().visualize(predictions)
        pictures = [self._picture(item) for item in predictions]
        return pictures[0] if len(pictures) == 1 else pictures

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: ImageBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Save a picture of each item below ``output_dir``, in the folders its image came from."""
        del pl_module, outputs, batch_idx, dataloader_idx
        self.output_dir = self.output_dir or Path(trainer.default_root_dir) / "images"
        data = getattr(trainer, "datamodule", None)
        names = (getattr(data, "name", None), getattr(data, "category", None))
        for item in batch:
            picture = self._picture(item)
            if picture is not None and item.image_path:
                picture.save(generate_output_filename(item.image_path, self.output_dir, *names))

    def _picture(self, item: Item) -> Image.Image | None:
        panels = [self._panel(item, field) for field in self.fields]
        panels += [self._host_panel(item, overlay_fields=[overlay]) for overlay in self.overlay_fields]
        drawn = [panel for panel in panels if panel is not None]
        turns = getattr(item, "turns", None) if "turns" in self.fields else None
        rows = [drawn] if drawn else []
        if turns is not None:
            rows += [self._turn(item.image, turn, number) for number, turn in enumerate(torch.as_tensor(turns))]
        width = max((len(row) for row in rows), default=0)
        blank = Image.new("RGB", self.field_size, "white")
        padded = [panel for row in rows for panel in row + [blank] * (width - len(row))]
        return create_image_grid(padded, nrow=width) if padded else None

    def _turn(self, image: Any, turn: Tensor, number: int) -> list[Image.Image]:
        """Draw the image, what a turn hid, what it made of the image, and what it found; ``turn`` is (5, H, W)."""
        hidden, found = turn[3], turn[4]
        pictures = {
            "Image": visualize_image(image),
            f"Mask {number}": visualize_image(hidden.expand(3, -1, -1)),
            f"Image {number}": visualize_image(turn[:3]),
            f"Map {number}": visualize_anomaly_map(found),
        }
        return [self._labelled(picture.convert("RGB"), text) for text, picture in pictures.items()]

    def _panel(self, item: Item, field: str) -> Image.Image | None:
        if field == "turns":
            return None
        if field not in OWN_FIELDS:
            return self._host_panel(item, fields=[field])
        value = getattr(item, field, None)
        return None if value is None else self._labelled(visualize_image(value), OWN_FIELDS[field])

    def _labelled(self, image: Image.Image, text: str) -> Image.Image:
        style = dict(self.text_config)
        panel = image.resize(self.field_size)
        return add_text_to_image(panel, text, **style) if style.pop("enable") else panel

    def _host_panel(self, item: Item, **what: Any) -> Image.Image | None:
        return visualize_image_item(
            item,
            field_size=self.field_size,
            fields_config=self.fields_config,
            overlay_fields_config=self.overlay_fields_config,
            text_config=self.text_config,
            **what,
        )
