"""Into files: from a socket within the kernel (splice(2)): for bytes that nobody wants to see.

Linux, from Python 3.10 on, without TLS. A quarter of the time goes that a copy into this process and out again takes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections.abc import Iterator
from typing import Callable, Final, Optional

#: Bytes that lie between socket and file; what an unprivileged process may have by default.
_PIPE: Final = 1 << 20

#: linux/fcntl.h; in Python's fcntl since 3.10.
_F_SETPIPE_SZ: Final = 1031


def can_splice(sock: Optional[socket.socket]) -> bool:
    """Whether the kernel can carry what this socket receives: TLS is opened up in this process."""
    return hasattr(os, "splice") and type(sock) is socket.socket


def splice(sock: socket.socket, size: int, into: tuple[int, int], passed: Callable[[int], None]) -> int:
    """Carries up to ``size`` bytes into a file: its descriptor, and where in it; ``passed`` is told of each step.

    Answers how many came; fewer where the other end has closed.

    Raises:
        TimeoutError: nothing came for the socket's timeout.
        OSError: the socket failed, or the file cannot be written, which ``FileFailed`` tells apart.
    """
    descriptor, at = into
    done = 0
    with _pipe() as (source, sink):
        while done < size:
            arrived = _arrived(sock, sink, min(_PIPE, size - done))
            if not arrived:
                break
            _emptied(source, descriptor, at + done, arrived)
            done += arrived
            passed(arrived)
    return done


class FileFailed(Exception):
    """The file could not be written; the cause says why."""


def _arrived(sock: socket.socket, sink: int, most: int) -> int:
    while True:
        with contextlib.suppress(BlockingIOError):  # a socket with a timeout does not block
            return os.splice(sock.fileno(), sink, most)  # type: ignore[attr-defined, unused-ignore]
        _wait(sock)


def _wait(sock: socket.socket) -> None:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    timeout = sock.gettimeout()
    if not poll.poll(None if timeout is None else timeout * 1000):
        raise TimeoutError("timed out")


def _emptied(source: int, descriptor: int, at: int, count: int) -> None:
    try:
        while count:
            written = os.splice(source, descriptor, count, offset_dst=at)  # type: ignore[attr-defined, unused-ignore]
            count, at = count - written, at + written
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise FileFailed from error
        _copied(source, descriptor, at, count)


def _copied(source: int, descriptor: int, at: int, count: int) -> None:
    """For file systems that do not take what is spliced."""
    try:
        while count:
            data = os.read(source, count)
            write_all(descriptor, memoryview(data), at)
            count, at = count - len(data), at + len(data)
    except OSError as error:
        raise FileFailed from error


def write_all(descriptor: int, data: memoryview, at: int) -> None:
    """
    Raises:
        OSError: the file cannot be written.
    """
    while data:
        written = os.pwrite(descriptor, data, at)
        data, at = data[written:], at + written


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    source, sink = os.pipe()
    try:
        with contextlib.suppress(OSError):  # a user with very many pipes: it stays small, and slower
            import fcntl  # POSIX only, as splice is

            fcntl.fcntl(sink, _F_SETPIPE_SZ, _PIPE)
        yield source, sink
    finally:
        os.close(source)
        os.close(sink)
