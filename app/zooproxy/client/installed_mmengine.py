"""What is taken from mmengine where it is in use, and what stands in for it where it is not."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any, Optional


def is_model_wrapper(module: Any) -> bool:
    """Whether ``module`` wraps another in ``module.module``: torch's wrappers, and those that mmengine registered."""
    mmengine_model = sys.modules.get("mmengine.model")
    if mmengine_model is not None:
        return bool(mmengine_model.is_model_wrapper(module))
    from torch.nn.parallel import DataParallel, DistributedDataParallel

    return isinstance(module, (DataParallel, DistributedDataParallel))


def is_tta_model(module: Any) -> bool:
    """Whether ``module`` is one of mmengine's test-time augmentation models, which wrap like a model wrapper."""
    mmengine_model = sys.modules.get("mmengine.model")
    return mmengine_model is not None and isinstance(module, mmengine_model.BaseTTAModel)


def get_dist_info() -> tuple[int, int]:
    """(rank, world size) of the default process group; (0, 1) without one."""
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def fileio() -> Optional[Any]:
    """The module ``mmengine.fileio``, or None where mmengine is not installed."""
    try:
        return importlib.import_module("mmengine.fileio")
    except ImportError:
        return None


def write_with_backend(
    data: bytes, filename: str, client: Optional[dict[str, Any]], backend: Optional[dict[str, Any]]
) -> None:
    """Writes with mmengine's file client or file backend of these arguments; without mmengine, to a local file.

    Raises:
        ImportError: a backend that only mmengine has, and there is no mmengine.
        OSError: it cannot be written.
    """
    files = fileio()
    if files is None:
        if "://" in filename or (client or backend or {}).get("backend", "local") not in ("local", "disk"):
            raise ImportError("only mmengine's file backends write anywhere but to local files: pip install mmengine")
        _write_file(data, filename)
    elif client is not None:
        files.FileClient.infer_client(client, filename).put(data, filename)
    else:
        files.get_file_backend(filename, backend_args=backend).put(data, filename)


def _write_file(data: bytes, filename: str) -> None:
    """Makes the directory, and never leaves half a file.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(filename)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
