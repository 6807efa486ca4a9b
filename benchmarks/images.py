"""The images of one category as anomalib's data module, the same for every model."""

import copy
import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from anomalib.data import AnomalibDataModule, AnomalibDataset, Folder, MVTecAD
from lightning.pytorch.trainer.states import TrainerFn
from PIL import Image

from anomalib_stc.host.holdout import drawn, names_of, part, split_holdout
from anomalib_stc.parts.clusters import shuffled

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


def prepared(job: dict[str, Any]) -> tuple[AnomalibDataModule, Any]:
    """Return the data module of a run, and its held-out normals.

    Images are left out, and defects put in, before the hold-out: who has few images, or defects among them, holds some
    of these out.

    Args:
        job: What `benchmarks.runner` planned.

    Raises:
        ValueError: If the category has too few images for what the run wants.
    """
    module = datamodule(job["data"], job["set"], job["spec"]["batch_size"])
    module.setup(TrainerFn.FITTING)
    keep_normals(module, job["normals"], job["draw"])
    contaminate(module, job["contamination"], job["draw"], job["set_aside"])
    return module, hold_out(module, job["holdout"])


def keep_normals(module: AnomalibDataModule, count: int | None, draw: int) -> None:
    """Keep some training images of a data module that is set up; fewer of the same draw are among more of it.

    Args:
        module: A data module; its test images stay.
        count: Training images to keep, ``None`` for all.
        draw: Seed of the choice.

    Raises:
        ValueError: If there are not so many.
    """
    if count is None:
        return
    if count > len(module.train_data):
        msg = f"normals is {count}, but {module.category or module.name} has {len(module.train_data)}: change it."
        raise ValueError(msg)
    module.train_data = drawn(module.train_data, count, draw)


def contaminate(module: AnomalibDataModule, share: float, draw: int, set_aside: float = 0.0) -> None:
    """Put defect images of the test set, as normal ones, in the place of some training images of a data module.

    The training set stays as large as it was, and the test set loses these defects. Those of a smaller share of the
    same draw are among those of a larger one.

    Args:
        module: A data module that is set up.
        share: Share of the training images, 0 for none; any other is one image at least.
        draw: Seed of the choice.
        set_aside: The test set loses as many defects as for this share, where it is the larger one: two shares are
            then compared by the same test images.

    Raises:
        ValueError: If the test set would have no defect left.
    """
    train, test = module.train_data, module.test_data
    defects = np.flatnonzero(test.samples.label_index == 1)
    put_in, taken = (images_of(wanted, len(train)) for wanted in (share, max(share, set_aside)))
    if taken and taken >= len(defects):
        msg = f"contamination takes {taken} of {len(defects)} defect images, expected fewer than all: make it smaller."
        raise ValueError(msg)
    moved = defects[shuffled(len(defects), draw)[:taken].numpy()]
    if put_in:
        put = test.samples.iloc[moved[:put_in]]
        whole: Any = module
        whole.train_data = joined(drawn(train, len(train) - put_in, draw), put)
        whole.links = linked(whole.train_data, dict(zip(train.samples.image_path, names_of(train), strict=True)))
    module.test_data = part(test, np.delete(np.arange(len(test)), moved).tolist())


def images_of(share: float, count: int) -> int:
    """Return how many images a share of a count is: one at least, unless it is 0."""
    return max(1, round(share * count)) if share else 0


def joined(normals: AnomalibDataset, samples: pd.DataFrame) -> AnomalibDataset:
    """Return a data set of normal images with other images, which it calls normal and without a mask as well."""
    known = {name: normals.samples[name].iloc[0] for name in ("split", "label", "label_index", "mask_path")}
    whole = pd.concat([normals.samples, samples.assign(**known)], ignore_index=True)
    whole.attrs = normals.samples.attrs  # anomalib's task
    view = copy.copy(normals)
    view.samples = whole
    return view


def linked(dataset: AnomalibDataset, names: dict[str, str]) -> TemporaryDirectory:
    """Let a data set read its images through links in one folder, which is returned and goes when nobody has it.

    A split goes by the path from the folder that all images share: so images are held out as without those that were
    put in, which come from other folders. The names of these begin with that of their own folder.

    Args:
        dataset: Normal images and those that were put in.
        names: Of the normal images, by path: the path from the folder that they share.
    """
    folder, samples = TemporaryDirectory(), dataset.samples.copy()
    links = []
    for path in samples.image_path:
        links.append(Path(folder.name) / names.get(path, "_".join(Path(path).parts[-2:])))
        links[-1].parent.mkdir(parents=True, exist_ok=True)
        links[-1].symlink_to(Path(path).resolve())
    dataset.samples = samples.assign(image_path=[str(link) for link in links])
    return folder


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
