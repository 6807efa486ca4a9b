"""The images of one category as anomalib's data module, the same for every model."""

import hashlib
from pathlib import Path
from typing import Any

from anomalib.data import AnomalibDataModule, Folder, MVTecAD
from lightning.pytorch.trainer.states import TrainerFn
from PIL import Image

from anomalib_stc.host.holdout import split_holdout

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


def category_folder(data: dict[str, Any], category: str) -> Path:
    """Return the folder of a category.

    Raises:
        ValueError: If it is not a folder under the root, or holds no image.
    """
    if Path(category).is_absolute() or ".." in Path(category).parts:
        msg = f"The category is {category}, expected a folder under {data['root']}: change --data-root instead."
        raise ValueError(msg)
    folder = Path(data["root"]) / category
    if not folder.is_dir():
        msg = f"There is no folder {folder}, expected the images of '{category}': check --data-root and --categories."
        raise ValueError(msg)
    if not image_files(folder):
        msg = f"{folder} holds no image ({', '.join(sorted(SUFFIXES))}): check --data-root and --categories."
        raise ValueError(msg)
    return folder


def check_depth(folder: Path) -> None:
    """Raise a `ValueError` if an image has more than 8 bit: anomalib's reader would cut it off at white."""
    for path in image_files(folder):
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                msg = f"{path} has more than 8 bit ({image.mode}), which anomalib cuts off at white: scale it to 8 bit."
                raise ValueError(msg)


def image_files(folder: Path) -> list[Path]:
    """Return every image under a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of the names and bytes of all images under a folder."""
    digest = hashlib.sha256()
    for path in image_files(folder):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def datamodule(data: dict[str, Any], category: str, batch_size: int) -> AnomalibDataModule:
    """Return the data module of a category, its test images the same at every call; validation is not used."""
    folder = category_folder(data, category)
    loading: dict[str, Any] = {
        "train_batch_size": batch_size,
        "eval_batch_size": batch_size,
        "num_workers": data["num_workers"],
        "seed": 0,  # of the split where a set has no normal test images
    }
    if data["layout"] == "mvtec":
        return MVTecAD(root=data["root"], category=category, **loading)
    if data["layout"] == "folder":
        loading["val_split_mode"] = "none"  # anomalib's default takes half of the test images for validation
        return Folder(name=Path(category).name, root=folder, **data["folder"], **loading)
    msg = f"data.layout is '{data['layout']}', expected mvtec or folder: change it."
    raise ValueError(msg)


def hold_out(module: AnomalibDataModule, share: float) -> Any:
    """Take a share of the training images out of a data module's training, and return them as a data set."""
    module.setup(TrainerFn.FITTING)  # without the stage, the trainer would set it up once more and bring them back
    module.train_data, held_out = split_holdout(module.train_data, share)
    return held_out


def check_category(data: dict[str, Any], category: str, share: float) -> None:
    """Raise a `ValueError` if a category cannot be loaded, or has deep images, before hours are spent on others."""
    folder = category_folder(data, category)
    check_depth(folder)
    try:
        hold_out(datamodule(data, category, 1), share)
    except Exception as error:  # anomalib and pandas raise many kinds; the user needs the folder and the cause
        cause = str(error).splitlines()[0].rstrip(".")
        msg = f"{folder} does not load in {data['layout']} layout ({cause}): compare its folders with the settings."
        raise ValueError(msg) from error
