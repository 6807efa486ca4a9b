"""I3AD's claims: what its turns are good for, against what mask, and against an autoencoder of the same size.

``python -m benchmarks.iterations --data-root R --categories C1 C2`` trains three networks a category and seed: one that
inpaints, the same without skip connections, and an autoencoder, which has none either and sees everything. All other
arms are the first network, asked in another way. What the table has is not done again.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any, Final, NamedTuple

import pandas as pd
import torch
from anomalib.metrics import AUPRO, AUROC
from kornia.metrics import psnr as kornia_psnr
from torch import Tensor

from anomalib_stc.host.holdout import plain_loader
from anomalib_stc.models import I3ad
from anomalib_stc.models.i3ad.similarity import dissimilarity
from anomalib_stc.models.i3ad.torch_model import Turn
from anomalib_stc.parts.bank import TERMS
from benchmarks import claims
from benchmarks.arms.i3ad import AGGREGATIONS, GUESSED, aggregation, autoencoder, masked_by, no_skips
from benchmarks.arms.signal_to_noise import SignalToNoise, defects
from benchmarks.images import category_folder, fingerprint
from benchmarks.measures import FIELDS, measured, unit
from benchmarks.results import write_atomically

MASKS: Final = {"features": (0, 1, 2, 4, 8), "pixels": (1, 4), "l1": (1, 4)}  # residual of the mask: numbers of turns
TURNS: Final = 4  # after which aggregations beside the default are asked, of the first kind of mask
OTHERS: Final[dict[str, Callable[..., I3ad]]] = {"no skips": no_skips, "autoencoder": autoencoder}
OWN: Final = {**dict.fromkeys(TERMS, 0.0), **GUESSED}  # a memory bank says nothing of turns
KEY: Final = ("set", "images", "seed", "image_size", "train_images")  # the second is a hash of the set's images


class Images(NamedTuple):
    """Some images of one set."""

    image: Tensor  # (N, 3, H, W)
    truth: Tensor  # (N, 1, H, W) bool, defect pixels


def main(arguments: list[str] | None = None) -> None:
    """Train, ask, print the table and write it."""
    options = claims.parser("iterations", (__doc__ or "").splitlines()[0], 600).parse_args(arguments)
    table = pd.read_csv(options.output) if options.output.exists() else pd.DataFrame(columns=list(KEY))
    done = set(table[list(KEY)].itertuples(index=False, name=None))
    images = {name: fingerprint(category_folder({"root": options.data_root}, name)) for name in options.categories}
    for category, seed in product(options.categories, options.seeds):
        key = (category, images[category], seed, options.image_size, options.train_images)
        if key in done:
            continue
        named = dict(zip(KEY, key, strict=True))
        found = [named | row for row in rows(options, category, seed)]
        table = pd.concat([table, pd.DataFrame(found).round(5)]).astype({"turns": int})
        write_atomically(options.output, table.to_csv(index=False))
    print(table.drop(columns=list(KEY[1:])).groupby(["set", "arm", "turns"], sort=False).mean().round(3).to_string())


def rows(options: argparse.Namespace, category: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a row for every arm and number of turns."""
    yield from asked(options, *trained(options, category, seed, I3ad))
    for arm, make in OTHERS.items():
        model, held_out, test = trained(options, category, seed, partial(make, iterations=0))
        turns = turns_of(model, held_out.image), turns_of(model, test.image)
        yield {"arm": arm, "turns": 0} | figures(model, *turns, test)


def trained(
    options: argparse.Namespace, category: str, seed: int, make: Callable[..., I3ad]
) -> tuple[I3ad, Images, Images]:
    """Return a model, the normal images that were kept from it, and the test images."""
    learner = partial(make, train_images=options.train_images, **given(options))
    model, held_out, module = claims.trained(learner, options.data_root, category, seed)
    return model, images_of(model, held_out), images_of(model, module.test_data)


def given(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that all models have in common."""
    return {"image_size": options.image_size, "visualizer": False, "score_weights": OWN}


def images_of(model: Any, dataset: Any) -> Images:
    """Return the images of a data set as the model sees them, and where their defects are."""
    batches = list(plain_loader(dataset, model.pre_processor.transform, 8))
    image = torch.cat([batch.image for batch in batches])
    size = image.shape[-2:]
    if batches[0].gt_mask is None:
        return Images(image, torch.zeros(len(image), 1, *size, dtype=torch.bool))
    return Images(image, defects(torch.cat([batch.gt_mask for batch in batches]), size))


def asked(options: argparse.Namespace, model: I3ad, held_out: Images, test: Images) -> Iterator[dict[str, Any]]:
    """Yield the rows of all that needs no further training."""
    weights = {name: value for name, value in model.state_dict().items() if "suspicion" not in name}
    for number, (kind, counts) in enumerate(MASKS.items()):
        other = masked_by(kind, iterations=max(counts), **given(options)).eval()
        load(other, weights)
        other.model.calibrate(lambda: iter(held_out.image.split(8)))
        normal, found = turns_of(other, held_out.image), turns_of(other, test.image)
        for count in counts:
            shown = figures(other, normal[: count + 1], found[: count + 1], test)
            yield {"arm": kind, "turns": count} | shown
        for way in AGGREGATIONS if number == 0 else ():
            asks = aggregation(way, **given(options))  # of turns that are there, so it needs no weights
            shown = figures(asks, normal[: TURNS + 1], found[: TURNS + 1], test)
            yield {"arm": f"{kind}, {way}", "turns": TURNS} | shown


def load(model: I3ad, weights: dict[str, Tensor]) -> None:
    """Load all weights but the scale of the mask's residual, which depends on what that is."""
    keys = model.load_state_dict(weights, strict=False)
    wrong = [*keys.unexpected_keys, *(key for key in keys.missing_keys if "suspicion" not in key)]
    if wrong:
        message = f"Arms are one network, but these weights differ: {wrong}."
        raise RuntimeError(message)


@torch.no_grad()
def turns_of(model: Any, image: Tensor) -> list[Turn]:
    """Return all turns of images (N, 3, H, W)."""
    batches = [model.model.infer(batch).turns for batch in image.split(8)]
    return [
        Turn(
            torch.cat([turn.mask for turn in turns]),
            torch.cat([turn.image for turn in turns]).clamp(0, 1),
            {name: torch.cat([turn.residuals[name] for turn in turns]) for name in turns[0].residuals},
        )
        for turns in zip(*batches, strict=True)
    ]


@torch.no_grad()
def figures(model: Any, normal: list[Turn], found: list[Turn], test: Images) -> dict[str, float]:
    """Return accuracy, signal-to-noise ratios, PSNR of the normal pixels that the last turn filled, and its mask.

    Signal to noise is that of 1 - SSIM of the last turn (``snr``), of the first turn where the last one hides
    (``snr_cut``: what a mask does without anything inpainted anew), and of the map that is scored (``snr_map``).
    Likewise ``psnr_cut`` is that of the first turn at the pixels that the last one filled.

    Args:
        model: Whose score is calibrated here.
        normal: Turns of held-out normal images.
        found: Turns of the test images.
        test: The test images.
    """
    network = model.model
    size = test.image.shape[-2:]
    aggregated = [{name: network.aggregate(turns, name) for name in network.score.weights} for turns in (normal, found)]
    network.score.calibrate(aggregated[0])
    anomaly_map, score = network.score(aggregated[1], size)
    truth, defective = test.truth[:, 0].numpy(), test.truth.flatten(1).any(1).numpy()
    start, last = found[0].image, found[-1].image
    first = dissimilarity(test.image, start)
    filled = (found[-1].mask > 0) & ~test.truth  # what is bypassed has no error
    return {
        "image_auroc": measured(AUROC(FIELDS), unit(score.numpy()), defective),
        "aupro": measured(AUPRO(fields=FIELDS, fpr_limit=0.3), unit(anomaly_map[:, 0].numpy()), truth),
        "snr": signal_to_noise(dissimilarity(test.image, last), test.truth),
        "snr_cut": signal_to_noise(first * found[-1].mask, test.truth),
        "snr_map": signal_to_noise(anomaly_map, test.truth),
        "psnr_normal": psnr(test.image, last, filled),
        "psnr_cut": psnr(test.image, start, filled),
        "hidden": float(found[-1].mask.mean()),
        "settled": settled(found),
    }


def psnr(image: Tensor, other: Tensor, where: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB of images (N, 3, H, W) in [0, 1] at some pixels (N, 1, H, W) bool."""
    every = where.expand_as(image)
    return float(kornia_psnr(image[every], other[every], 1.0))


def settled(turns: list[Turn]) -> float:
    """Return the share of images whose last mask is the one before: all further turns would repeat the last."""
    if len(turns) == 1:
        return 0.0
    return float((turns[-1].mask == turns[-2].mask).flatten(1).all(1).float().mean())


def signal_to_noise(residual: Tensor, truth: Tensor) -> float:
    """Return the mean residual inside over that outside of the defects, of images with one (N, 1, H, W)."""
    ratio = SignalToNoise(1)
    ratio.update([residual], truth)
    return float(ratio.compute())


if __name__ == "__main__":
    main()
