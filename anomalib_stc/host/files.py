"""What can be wrong with an image file that anomalib reads without a word, or without its name."""

import warnings
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from PIL import Image

from anomalib_stc.host.holdout import paths_of

DEEP: Final = ("I", "F")  # beginnings of Pillow's modes of more than 8 bit: I, I;16, I;16B, F


def warn_deep(paths: Iterable[str]) -> bool:
    """Warn of the first file with more than 8 bit a channel: anomalib's reader cuts its values off.

    Returns:
        Whether there was one.
    """
    for path in paths:
        mode = mode_of(path)
        if mode.startswith(DEEP):
            warnings.warn(
                f"Image {path} has more than 8 bit a channel (mode {mode}), which anomalib's reader cuts to 0..255: "
                "it comes out white or black. Scale such images to 8 bit first.",
                UserWarning,
                stacklevel=2,
            )
            return True
    return False


def mode_of(path: str) -> str:
    """Return Pillow's mode of an image file by its first bytes, empty if it cannot be told."""
    try:
        return _mode_of(path, Path(path).stat().st_mtime_ns)
    except (OSError, ValueError):
        return ""


@lru_cache(maxsize=16384)
def _mode_of(path: str, _changed: int) -> str:
    with Image.open(path) as image:
        return image.mode


def name_unreadable(exception: BaseException, trainer: Any) -> None:
    """Add to a reading error the name of the file: Pillow's own sentence has none.

    Args:
        exception: What ended a run.
        trainer: The trainer of that run, whose loaders have the files.
    """
    if not isinstance(exception, OSError | SyntaxError):  # what Pillow raises of broken files
        return
    loaders = (trainer.train_dataloader, trainer.val_dataloaders, trainer.test_dataloaders, trainer.predict_dataloaders)
    for loader in loaders:
        for one in loader if isinstance(loader, list | tuple) else [loader]:
            for path in paths_of(getattr(one, "dataset", ())):
                if reason := unreadable(path):
                    exception.add_note(f"Image {path} cannot be read ({reason}): replace or remove it.")
                    return


def unreadable(path: str) -> str:
    """Return why a file cannot be read as an image, empty if it can."""
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError) as error:
        return str(error)
    return ""
