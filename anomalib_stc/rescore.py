"""Change how a trained model makes scores, and fit its scales and thresholds again: ``python -m anomalib_stc.rescore``.

A checkpoint is scored as it was trained; other arguments are refused, because its scales and thresholds belong to them.
This is the one way to change them without a new training.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from anomalib.data import AnomalibDataModule
from anomalib.engine import Engine
from jsonargparse import auto_cli

from anomalib_stc.host.replaced import OWN
from anomalib_stc.models import I3ad, ProxyAno, Stcm
from anomalib_stc.parts.score import ImageScore

MODELS: Final = {f"{model.__module__}.{model.__qualname__}": model for model in (Stcm, ProxyAno, I3ad)}


def rescore(
    ckpt_path: str,
    data: AnomalibDataModule,
    output: str,
    score_weights: dict[str, float] | None = None,
    image_score: ImageScore | None = None,
    smoothing: float | None = None,
    false_alarm_rate: float | None = None,
) -> Path:
    """Write a checkpoint of the same weights with other scores.

    The images of the training, held out and not, are found again by their names: give the data that it was trained on,
    with a seed where it splits at random. Thresholds come from the data's validation as in a training, so from these
    images where there are no anomalies in it.

    Args:
        ckpt_path: Checkpoint of a training.
        data: The data of that training.
        output: Path of the new checkpoint; it can be predicted with, exported, and trained on from.
        score_weights: Weights of the map's terms; what is not named keeps that of the checkpoint.
        image_score: Image score from the map, see the models.
        smoothing: Width of the Gaussian on the map, in pixels.
        false_alarm_rate: Share of normal images above the threshold where validation has no anomalies.

    Returns:
        The path of the new checkpoint.

    Raises:
        ValueError: If the checkpoint cannot be read or is none of this package, nothing is to be changed, a value is
            out of range, or the data are not those of the training.
    """
    given = {"image_score": image_score, "smoothing": smoothing, "false_alarm_rate": false_alarm_rate}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    checkpoint = read(ckpt_path)
    own = checkpoint[OWN]
    if score_weights is not None:
        changes["score_weights"] = {**own["arguments"]["score_weights"], **score_weights}
    if not changes:
        msg = "Nothing is to be changed: give score_weights, image_score, smoothing or false_alarm_rate."
        raise ValueError(msg)
    arguments = {**own["arguments"], **changes}
    checkpoint |= {"hyper_parameters": arguments, OWN: {**own, "arguments": dict(arguments)}}
    with TemporaryDirectory() as folder:
        changed = Path(folder) / "changed.ckpt"
        torch.save(checkpoint, changed)
        model: Any = MODELS[own["model"]].load_from_checkpoint(changed, weights_only=True)
        model.calibration.refit = True
        engine = Engine(default_root_dir=folder, enable_progress_bar=False, logger=False)
        engine.validate(model, datamodule=data)
        if model.calibration.normals.mark != own["held_out"]:
            msg = (
                f"These data are other images than those of the training of '{ckpt_path}', so its thresholds cannot be "
                "fitted again: give the data of that training, with the same folders, splits and seed."
            )
            raise ValueError(msg)
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    torch.save({**checkpoint, "state_dict": model.cpu().state_dict()}, output)
    return Path(output)


def read(path: str) -> dict[str, Any]:
    """Return the checkpoint at a path.

    Raises:
        ValueError: If there is none that this package wrote.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds; the user needs to know which file
        msg = f"Checkpoint '{path}' cannot be read ({error}): give the path of a checkpoint of a training."
        raise ValueError(msg) from error
    model = checkpoint.get(OWN, {}).get("model")
    if model not in MODELS:
        msg = f"Checkpoint '{path}' is of {model or 'another package or version'}, expected one of {', '.join(MODELS)}."
        raise ValueError(msg)
    return checkpoint


if __name__ == "__main__":
    try:
        print(auto_cli(rescore, as_positional=False))
    except ValueError as error:
        sys.exit(str(error))
