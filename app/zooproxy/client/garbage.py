"""Python's cyclic garbage collector, kept quiet while thousands of objects are made that all live on.

Beside all that ``import torch`` has made, one full collection takes longer than receiving a small checkpoint.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collected_later() -> Iterator[None]:
    """No collection runs meanwhile, in any thread; where collections are off, they stay off."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
