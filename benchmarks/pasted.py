"""How much a pasted defect stands out of ProxyAno's residual, trained with and without pseudo anomalies.

``python -m benchmarks.pasted --data-root R --categories C1 C2`` trains two models a category and seed, and pastes
patches on images that neither saw.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from anomalib_stc.host.holdout import plain_loader
from anomalib_stc.models import ProxyAno
from anomalib_stc.models.proxy_ano.pseudo_anomaly import PatchPaste
from benchmarks import claims
from benchmarks.results import write_atomically

PASTES = 20  # patches on every held-out image
SOURCES = ("image", "batch")


def main(arguments: list[str] | None = None) -> None:
    """Train, paste, print the table and write it."""
    options = claims.parser("pasted", (__doc__ or "").splitlines()[0], 320).parse_args(arguments)
    table = pd.DataFrame(rows(options)).round(5)
    write_atomically(options.output, table.to_csv(index=False))
    print(table.groupby(["set", "patch_from", "pseudo"])[["inside", "outside", "ratio"]].mean().round(4).to_string())


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a row for every category, seed, training and source of patches."""
    for category in options.categories:
        for seed in options.seeds:
            for pseudo in (True, False):
                model, normals = trained(options, category, seed, pseudo)
                for source in SOURCES:
                    inside, outside = residuals(model, normals, source)
                    named = {"set": category, "seed": seed, "pseudo": pseudo, "patch_from": source}
                    yield {**named, "inside": inside, "outside": outside, "ratio": inside / outside}


def trained(options: argparse.Namespace, category: str, seed: int, pseudo: bool) -> tuple[ProxyAno, Tensor]:
    """Return a model and the normal images (B, 3, H, W) that were kept from it."""
    build = partial(
        ProxyAno,
        image_size=options.image_size,
        train_images=options.train_images,
        pseudo_anomalies=0.5 if pseudo else 0.0,
        visualizer=False,
    )
    model, held_out, _ = claims.trained(build, options.data_root, category, seed)
    transform: Any = model.pre_processor
    normals = torch.cat([batch.image for batch in plain_loader(held_out, transform.transform, 8)])
    return model, normals.to(model.device)


@torch.no_grad()
def residuals(model: ProxyAno, normals: Tensor, source: str) -> tuple[float, float]:
    """Return the mean pixel residual in [0, 1] inside and outside of patches pasted on normal images (B, 3, H, W)."""
    torch.manual_seed(0)
    paste = PatchPaste(1.0)
    origin = normals if source == "image" else normals.roll(-1, 0)  # the next image of the batch
    inside, outside = torch.zeros(2), torch.zeros(2)  # sum, pixels
    for _ in range(PASTES):
        image, mask = paste(normals, origin)
        rebuilt = model.model.infer(image).reconstruction.clamp(0, 1)
        residual = (image - rebuilt).abs().mean(1, keepdim=True)
        inside += torch.stack([(residual * mask).sum(), mask.sum()]).cpu()
        outside += torch.stack([(residual * (1 - mask)).sum(), (1 - mask).sum()]).cpu()
    return float(inside[0] / inside[1]), float(outside[0] / outside[1])


if __name__ == "__main__":
    main()
