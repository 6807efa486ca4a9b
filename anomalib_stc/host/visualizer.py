"""The picture of a test run: image, proxy, reconstruction, anomaly map and mask side by side, turns below."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from anomalib.data import ImageBatch, ImageItem, NumpyImageBatch, NumpyImageItem
from anomalib.utils.path import convert_to_title_case, generate_output_filename
from anomalib.visualization import ImageVisualizer
from anomalib.visualization.image.functional import (
    add_text_to_image,
    create_image_grid,
    get_visualize_function,
    overlay_images,
    visualize_image,
)
from anomalib.visualization.image.item_visualizer import visualize_image_item
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image
from torch import Tensor

from anomalib_stc.host.batch import ReconstructionBatch
from anomalib_stc.host.callbacks import of_kind
from anomalib_stc.host.colours import coloured
from anomalib_stc.parts.checks import check

Item = ImageItem | NumpyImageItem
Batch = ImageBatch | NumpyImageBatch

FIXED: Final = {"colormap": True, "normalize": False}  # of anomaly maps, in anomalib's words
MIDDLE: Final = 0.5  # the threshold of normalised maps


class ReconstructionVisualizer(ImageVisualizer):
    """anomalib's image visualizer with more fields: ``proxy``, ``reconstruction``, and ``turns`` as rows below.

    All maps of a run have one scale of colours, see `coloured`: red begins where the predicted mask does. Other fields
    and overlays are drawn by anomalib's functions. A field that an item does not have, such as the mask of an image
    without ground truth or the proxy of a model without one, is left out of its picture.

    Args:
        fields: Panels from left to right; image, proxy, reconstruction, anomaly map and ground truth mask if None.
            Turns, if among them or if None, are rows of image, mask, image and suspicion below.
        overlay_fields: Further panels of one field drawn over another; the predicted mask's contour over the image
            if None.
        **kwargs: Sizes, colours and texts as of anomalib's ``ImageVisualizer``; of ``anomaly_map`` only ``alpha``.

    Raises:
        ValueError: If the configuration of the anomaly map asks for another scale.
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
        self.pixel_threshold = MIDDLE
        self._written: dict[Path, str] = {}  # which image a picture of this run is of
        for config in (self.fields_config, self.overlay_fields_config):
            _check_fixed(config.get("anomaly_map", {}))

    def visualize(self, predictions: Item | Batch) -> Image.Image | list[Image.Image | None] | None:
        """Draw one item, or each item of a batch; a batch of one gives one picture as an item does.

        Red begins at the threshold of the last test or prediction that this visualizer has drawn, or at 0.5.
        """
        if isinstance(predictions, Item):
            return self._picture(predictions)
        if not isinstance(predictions, Batch):
            return super().visualize(predictions)
        pictures = [self._picture(item) for item in predictions]
        return pictures[0] if len(pictures) == 1 else pictures

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin or end a run: pictures of an earlier one are replaced, and a pickle holds no names of images."""
        del trainer, pl_module
        self._written = {}

    on_predict_start = on_test_end = on_predict_end = on_test_start

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: ImageBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Save a picture of each item below ``output_dir``, in the folders its image came from.

        The run's own folder is meant where none was given. Where another image of the run has the same name in folders
        of the same name, those above are put before it.

        What is there to be drawn only, the turns, is taken out of the batch: `Engine.predict` keeps all batches. A
        visualizer that is not the model's own, or was until a run before, comes before the post-processor: it would
        see other values than those of the run's scale, and draws nothing.
        """
        del outputs, batch_idx, dataloader_idx
        if _comes_after(of_kind(trainer, Callback), self, pl_module.post_processor):
            self.pixel_threshold = float(getattr(pl_module.post_processor, "normalized_pixel_threshold", MIDDLE))
            self._save(trainer, batch)
        else:
            rank_zero_warn("A visualizer that is not the model's draws nothing: give it to the model as `visualizer`.")
        if isinstance(batch, ReconstructionBatch):
            batch.turns = None

    def _save(self, trainer: Trainer, batch: ImageBatch) -> None:
        folder = self.output_dir or Path(trainer.default_root_dir) / "images"
        data = getattr(trainer, "datamodule", None)
        names = (getattr(data, "name", None), getattr(data, "category", None))
        for item in batch:
            picture = self._picture(item)
            if picture is not None and item.image_path:
                picture.save(self._free(generate_output_filename(item.image_path, folder, *names), item.image_path))

    def _free(self, path: Path, image_path: str) -> Path:
        """Return a path with so many of an image's folders before its name that no other image of the run has it."""
        above = iter(Path(image_path).parts[-3::-1])
        while self._written.setdefault(path, image_path) != image_path:
            path = path.with_name(f"{next(above)}_{path.name}")
        return path

    def _picture(self, item: Item) -> Image.Image | None:
        panels = [self._panel(item, field) for field in self.fields if field != "turns"]
        panels += [self._overlay(item, base, layers) for base, layers in self.overlay_fields]
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
        """Draw the image, what a turn hid, what it made of it, and what the next hides; ``turn`` is (5, H, W)."""
        hidden, suspicion = turn[3], turn[4]
        pictures = {
            "Image": self._image(image),
            f"Mask {number}": self._image(hidden.expand(3, -1, -1)),
            f"Image {number}": self._image(turn[:3]),
            f"Suspicion {number}": self._coloured(suspicion, MIDDLE),
        }
        return [self._labelled(picture, text) for text, picture in pictures.items()]

    def _panel(self, item: Item, field: str) -> Image.Image | None:
        picture = self._drawn(item, field)
        return None if picture is None else self._labelled(picture, convert_to_title_case(field))

    def _overlay(self, item: Item, base: str, layers: list[str]) -> Image.Image | None:
        picture = self._drawn(item, base)
        there = [layer for layer in layers if getattr(item, layer, None) is not None]
        if picture is None or not there:
            return picture
        for layer in there:
            config = self.overlay_fields_config.get(layer, {})
            picture = overlay_images(picture, self._layer(item, layer, config), alpha=config.get("alpha", 0.5))
        return self._labelled(picture, f"{convert_to_title_case(base)} + {'+'.join(map(convert_to_title_case, there))}")

    def _layer(self, item: Item, field: str, config: Mapping[str, Any]) -> Image.Image:
        own = self._own.get(field)
        value = getattr(item, field)
        return own(value) if own else get_visualize_function(field)(value, **config)

    def _drawn(self, item: Item, field: str) -> Image.Image | None:
        if own := self._own.get(field):
            value = getattr(item, field, None)
            return None if value is None else own(value)
        style = {**self.text_config, "enable": False}
        return visualize_image_item(item, [field], None, self.field_size, self.fields_config, text_config=style)

    @property
    def _own(self) -> dict[str, Callable[[Any], Image.Image]]:
        """Functions of the fields that anomalib draws not at all, or otherwise."""
        return {"proxy": self._image, "reconstruction": self._image, "anomaly_map": self._map}

    def _image(self, image: Any) -> Image.Image:
        return visualize_image(image).resize(self.field_size)

    def _map(self, anomaly_map: Any) -> Image.Image:
        return self._coloured(anomaly_map, self.pixel_threshold)

    def _coloured(self, values: Any, threshold: float) -> Image.Image:
        """Colour a map (H, W); its pixels stay what they are, since a mixture of two colours is no value's."""
        return coloured(values, threshold).resize(self.field_size, Image.Resampling.NEAREST)

    def _labelled(self, panel: Image.Image, text: str) -> Image.Image:
        style = dict(self.text_config)
        return add_text_to_image(panel, text, **style) if style.pop("enable") else panel.convert("RGB")


def drawn_fields(trainer: Trainer | None) -> set[str]:
    """Return the fields that the visualizers of a run draw; none without a trainer."""
    visualizers = of_kind(trainer, ImageVisualizer) if trainer else []
    return {field for visualizer in visualizers for field in visualizer.fields}


def _comes_after(callbacks: list[Callback], this: Callback, other: Any) -> bool:
    return other not in callbacks or callbacks.index(other) < callbacks.index(this)


def _check_fixed(config: Mapping[str, Any]) -> None:
    """Refuse another scale of the anomaly map than the run's."""
    other = {name: value for name, value in config.items() if name != "alpha" and value != FIXED.get(name)}
    expected = "nothing but alpha, since all maps of a run have one scale: use anomalib's ImageVisualizer for another"
    check("Config of 'anomaly_map'", other, not other, expected)
