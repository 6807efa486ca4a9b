"""The images of one category as anomalib's data module, the same for every model."""

import hashlib
from pathlib import Path
from typing import Any

from anomalib.data import AnomalibDataModule, Folder, MVTecAD

from anomalib_stc.components.holdout import split_holdout

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


def category_folder(data: dict[str, Any], category: str) -> Path:
    """Return the folder of a category.

    Raises:
        ValueError: If there is none, or it holds no image.
    """
    folder = Path(data["root"]) / category
    if not folder.is_dir():
        msg = f"There is no folder {folder}, expected the images of '{category}': check --data-root and --categories."
        raise ValueError(msg)
    if not image_files(folder):
        msg = f"{folder} holds no image ({', '.join(sorted(SUFFIXES))}): check --data-root and --categories."
        raise ValueError(msg)
    return folder


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
    """Return the data module of a category; validation is not used, so nothing sees the test images."""
    folder = category_folder(data, category)
    loading: dict[str, Any] = {
        "train_batch_size": batch_size,
        "eval_batch_size": batch_size,
        "num_workers": data["num_workers"],
    }
    if data["layout"] == "mvtec":
        return MVTecAD(root=data["root"], category=category, **loading)
    if data["layout"] == "folder":
        return Folder(name=Path(category).name, root=folder, **data["folder"], **loading)
    msg = f"data.layout is '{data['layout']}', expected mvtec or folder: change it."
    raise ValueError(msg)


def hold_out(module: AnomalibDataModule, share: float) -> Any:
    """Take a share of the training images out of a data module's training, and return them as a data set."""
    module.setup()
    module.train_data, held_out = split_holdout(module.train_data, share)
    return held_out
