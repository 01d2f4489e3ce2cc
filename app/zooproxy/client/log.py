"""Where messages of the checkpoint functions go: mmengine's meaning of ``logger``, without importing mmengine."""

from __future__ import annotations

import logging
import sys
from typing import Union

#: None prints, ``'silent'`` drops; a logger, or the name of one, logs.
Destination = Union[None, str, logging.Logger]


def print_log(msg: str, logger: Destination = None, level: int = logging.INFO) -> None:
    """Writes ``msg`` to ``logger``; mmengine's function of this name.

    Where mmengine is in use its own loggers are meant: ``'current'`` is its latest, another name one that it made
    (its ValueError says that there is none). Elsewhere ``'current'`` is the logger ``zooproxy``, and any other name
    that logger of the standard library.

    Raises:
        TypeError: ``logger`` is of no such type.
    """
    if logger is None:
        print(msg)  # noqa: T201  # what None means in mmengine
    elif isinstance(logger, logging.Logger):
        logger.log(level, msg)
    elif not isinstance(logger, str):
        raise TypeError("logger is None, 'silent', the name of a logger, or a logging.Logger")
    elif logger != "silent":
        _write_to_named(msg, logger, level)


def _write_to_named(message: str, name: str, level: int) -> None:
    mmengine_logging = sys.modules.get("mmengine.logging")
    if mmengine_logging is not None:
        mmengine_logging.print_log(message, logger=name, level=level)
    else:
        logging.getLogger("zooproxy" if name == "current" else name).log(level, message)
