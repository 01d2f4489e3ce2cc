"""One copy from the proxy for a whole job: rank 0 loads, and the process group that the job has anyway carries it on.

What travels is text (JSON) and bytes, each announced by its length; nothing is pickled. An error on rank 0 reaches the
others as a length below 0 and a message, so that none of them waits for bytes that never come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Final

from zooproxy.client.installed_mmengine import get_dist_info
from zooproxy.client.storages import Buffer, byte_tensor
from zooproxy.errors import ProxyUnreachable

if TYPE_CHECKING:
    import torch

#: Bytes at once: what a collective on GPUs stages in their memory.
_CHUNK: Final = 64 << 20


def from_rank_0(produce: Callable[[], tuple[str, Buffer, int]]) -> tuple[str, Buffer]:
    """A text, and a buffer of so many bytes, as rank 0 produces them; every rank of the default group has to call.

    Without a process group, or in one of one rank, the caller produces them itself.

    Raises:
        ProxyUnreachable: on the other ranks, where producing failed on rank 0 (which raises the error itself).
    """
    rank, ranks = get_dist_info()
    if ranks == 1:
        text, buffer, _ = produce()
        return text, buffer
    return _sent(produce) if rank == 0 else _received()


def _sent(produce: Callable[[], tuple[str, Buffer, int]]) -> tuple[str, Buffer]:
    try:
        text, buffer, size = produce()
    except BaseException as error:
        told = f"{type(error).__name__}: {error}".encode()
        _numbers(-1, len(told))
        _bytes(memoryview(bytearray(told)))
        raise
    encoded = bytearray(text.encode())
    _numbers(len(encoded), size)
    _bytes(memoryview(encoded))
    _bytes(buffer.view[:size])
    return text, buffer


def _received() -> tuple[str, Buffer]:
    length, size = _numbers(0, 0)
    if length < 0:
        told = bytearray(size)
        _bytes(memoryview(told))
        raise ProxyUnreachable(f"rank 0 could not load for this one: {told.decode(errors='replace')}")
    encoded = bytearray(length)
    _bytes(memoryview(encoded))
    buffer = Buffer(size)
    _bytes(buffer.view)
    return encoded.decode(), buffer


def _numbers(*numbers: int) -> tuple[int, int]:
    import torch
    import torch.distributed

    announced = torch.tensor(numbers, dtype=torch.int64, device=_device())
    torch.distributed.broadcast(announced, 0)
    first, second = announced.tolist()
    return first, second


def _bytes(view: memoryview) -> None:
    """Broadcasts ``view`` from rank 0 into it on the others."""
    import torch
    import torch.distributed

    device = _device()
    for start in range(0, len(view), _CHUNK):
        here = byte_tensor(view[start : start + _CHUNK])
        there = here.to(device)
        torch.distributed.broadcast(there, 0)
        if there is not here:
            here.copy_(there)


def _device() -> torch.device:
    """Where the group's engine takes tensors from: NCCL knows GPUs only."""
    import torch
    import torch.distributed

    backend: Any = torch.distributed.get_backend()
    return torch.device("cuda", torch.cuda.current_device()) if "nccl" in backend else torch.device("cpu")
