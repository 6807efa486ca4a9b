"""Share of an epoch's time that ProxyAno's training spends on proxies: in the first epoch, and in later ones.

``python -m benchmarks.proxy_time --data-root R --category C``
"""

import argparse
import time
from tempfile import TemporaryDirectory
from typing import Any

from anomalib.engine import Engine
from lightning.pytorch import Callback
from torch import Tensor

from anomalib_stc.models import ProxyAno
from anomalib_stc.models.proxy_ano.proxy import Proxy
from benchmarks.images import datamodule


class TimedProxy(Proxy):
    """Another proxy, and the seconds that were spent on it.

    Args:
        proxy: The other one.
    """

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(proxy.cells)
        self.proxy = proxy
        self.seconds = 0.0

    def __call__(self, image: Tensor) -> Tensor:
        """Return the proxies of images (B, 3, H, W)."""
        start = time.perf_counter()
        found = self.proxy(image)
        self.seconds += time.perf_counter() - start
        return found


class ProxyTime(Callback):
    """Times every epoch and the proxies in it."""

    proxy: TimedProxy

    def __init__(self) -> None:
        self.shares: list[float] = []
        self.start = 0.0

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Time what makes proxies."""
        self.proxy = TimedProxy(pl_module.model.proxy)
        pl_module.model.proxy = self.proxy

    def on_train_epoch_start(self, *args: Any) -> None:
        """Start anew."""
        self.start, self.proxy.seconds = time.perf_counter(), 0.0

    def on_train_epoch_end(self, *args: Any) -> None:
        """Note the share of this epoch."""
        self.shares.append(self.proxy.seconds / (time.perf_counter() - self.start))


def main(arguments: list[str] | None = None) -> None:
    """Train for some epochs, and print the share of every one."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.proxy_time", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--data-root", required=True, help="folder that holds a folder for every category, MVTec AD layout"
    )
    parser.add_argument("--category", required=True, help="folder under the root")
    parser.add_argument("--image-size", type=int, default=256, help="side in pixels")
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args(arguments)
    module = datamodule({"root": options.data_root, "layout": "mvtec", "num_workers": 0}, options.category, 8)
    clock = ProxyTime()
    with TemporaryDirectory() as folder:
        quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "limit_val_batches": 0}
        engine = Engine(default_root_dir=folder, callbacks=[clock], max_epochs=options.epochs, **quiet)
        engine.fit(ProxyAno(image_size=options.image_size, visualizer=False), datamodule=module)
    for epoch, share in enumerate(clock.shares):
        print(f"epoch {epoch}: {share:.1%} of its time on proxies")


if __name__ == "__main__":
    main()
