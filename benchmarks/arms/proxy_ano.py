"""ProxyAno with other parts: one arm for every claim that its arguments cannot ask about."""

from typing import Any

from anomalib_stc.models import ProxyAno
from anomalib_stc.models.proxy_ano.torch_model import ProxyAnoModel
from anomalib_stc.parts.branch import Branch
from benchmarks.arms.no_memory import NoMemory
from benchmarks.arms.proxies import make_proxy


def no_memory(**arguments: Any) -> ProxyAno:
    """Return a model that maps features to what it decodes by a convolution."""
    model = ProxyAno(**arguments)
    known, channels = model.model.extraction, model.model.features.channels
    return rebuilt(model, extraction=Branch(known.encoder, NoMemory(channels, channels), known.decoder))


def proxy(kind: str, **arguments: Any) -> ProxyAno:
    """Return a model that learns another kind of proxy.

    Args:
        kind: One of `SIMPLE`.
        **arguments: Of `ProxyAno`.

    Raises:
        ValueError: If there is no such proxy.
    """
    model = ProxyAno(**arguments)
    return rebuilt(model, proxy=make_proxy(kind, model.model.proxy.cells))


def rebuilt(model: ProxyAno, **parts: Any) -> ProxyAno:
    """Return a model whose network has some other parts, by the names of `ProxyAnoModel`'s arguments."""
    names = ("features", "extraction", "reconstruct", "score", "proxy", "paste")
    model.model = ProxyAnoModel(**{**{name: getattr(model.model, name) for name in names}, **parts})
    return model
