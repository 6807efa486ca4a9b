"""The models this package adds to anomalib."""

from anomalib_stc.models.i3ad.lightning_model import I3ad
from anomalib_stc.models.proxy_ano.lightning_model import ProxyAno
from anomalib_stc.models.stcm.lightning_model import Stcm

__all__ = ["I3ad", "ProxyAno", "Stcm"]
