"""Print what a spawned worker finds whose first import is a package that itself declares a model."""

import json
import multiprocessing
import sys


def look() -> dict:
    """Import the host inside the worker."""
    import shop.nets
    from anomalib.models import get_model, list_models

    return {"listed": sorted(list_models()), "same": type(get_model("edge_bank")) is shop.nets.EdgeBank}


if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seen = pool.apply(look)
    print(json.dumps(seen | {"parent": [name for name in sys.modules if name.startswith(("anomalib", "torch"))]}))
