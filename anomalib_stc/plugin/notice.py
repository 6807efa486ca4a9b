"""Tell the user something without ever stopping the host."""

import logging
import warnings


def warn(message: str) -> None:
    """Give one Python warning; where warnings are made errors (``-W error``), log it instead."""
    try:
        warnings.warn(message, UserWarning, stacklevel=3)
    except UserWarning:
        logging.getLogger(__name__).warning(message)
