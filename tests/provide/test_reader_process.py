"""The reader's process: the same index as here, and an end to whatever takes too much."""

from __future__ import annotations

import io
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import sys

import pytest
import torch

from formats.checkpoint_files import checkpoint, index_of, saved
from zooproxy.digest import Sha256
from zooproxy.errors import LimitExceeded, MalformedCheckpoint, UnsupportedFormat
from zooproxy.provide.reader_process import ReaderProcess
from zooproxy.wire.tensors import TensorIndex


@pytest.fixture(scope="module")
def process():
    reader = ReaderProcess()
    yield reader
    reader.close()


def read(reader: ReaderProcess, path: pathlib.Path, data: bytes) -> TensorIndex:
    path.write_bytes(data)
    with path.open("rb") as file:
        return reader.read(file, len(data), Sha256.of(data))


def test_it_reads_what_the_reader_reads(process, tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    for value in ({"state_dict": module.state_dict(), "epoch": 3}, [torch.ones(2)]):
        for options in ({}, {"_use_new_zipfile_serialization": False}):
            data = saved(value, **options)
            assert read(process, tmp_path / "a.pth", data) == index_of(data)


def test_it_stays_for_the_next_file_after_one_that_is_refused(process, tmp_path):
    good = saved({"a": torch.ones(2)})
    read(process, tmp_path / "good.pth", good)
    before = process._process.pid
    for data, error in ((good[:-30], MalformedCheckpoint), (checkpoint(b"\x80\x02garbage"), MalformedCheckpoint)):
        with pytest.raises(error) as raised:
            read(process, tmp_path / "bad.pth", data)
        with pytest.raises(error) as here:
            index_of(data)
        assert str(raised.value) == str(here.value)
    script = io.BytesIO()
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),)), script)
    with pytest.raises(UnsupportedFormat):
        read(process, tmp_path / "bad.pt2", script.getvalue())
    assert process._process.pid == before


def test_a_file_without_a_descriptor_is_read_here():
    data = saved({"a": torch.ones(2)})
    reader = ReaderProcess()
    assert reader.read(io.BytesIO(data), len(data), Sha256.of(data)) == index_of(data)
    assert reader._process is None


def test_a_process_that_was_killed_is_a_refusal_and_the_next_file_has_a_new_one(process, tmp_path):
    data = saved({"a": torch.ones(2)})
    read(process, tmp_path / "a.pth", data)
    os.kill(process._process.pid, signal.SIGKILL)
    process._process.wait()
    with pytest.raises(LimitExceeded, match="memory"):
        read(process, tmp_path / "a.pth", data)
    assert read(process, tmp_path / "a.pth", data) == index_of(data)


def test_what_takes_too_long_is_stopped(tmp_path):
    reader = ReaderProcess(seconds=0.0001)
    try:
        with pytest.raises(LimitExceeded, match=r"longer than 0\.0001 seconds"):
            read(reader, tmp_path / "a.pth", saved({"a": torch.ones(2)}))
        assert reader._process is None
    finally:
        reader.close()


def test_what_takes_too_much_memory_is_refused(tmp_path):
    """A limit of 64 MB beyond what Python itself has mapped, and a pickle of 100 MB."""
    code = (
        "import resource, sys, zooproxy.provide.reading as reading;"
        "mapped = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize();"
        "reading.MEMORY = mapped + (64 << 20) - 100_000_000; reading.serve(int(sys.argv[1]))"
    )
    reader = ReaderProcess()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = subprocess.Popen([sys.executable, "-c", code, str(theirs.fileno())], pass_fds=[theirs.fileno()])
        theirs.close()
        reader._process, reader._connection = child, ours
        filler = b"X" + struct.pack("<I", 60_000) + b"x" * 60_000 + b"0"
        with pytest.raises(LimitExceeded, match="memory"):
            read(reader, tmp_path / "a.pth", checkpoint(b"\x80\x02" + filler * 1_666 + b"N."))
        reader.close()


def test_the_process_ends_with_its_parent_and_never_imports_torch(tmp_path):
    data = saved({"a": torch.ones(2)})
    (tmp_path / "a.pth").write_bytes(data)
    code = (
        "import sys; from zooproxy.provide.reader_process import ReaderProcess; from zooproxy.digest import Sha256;"
        "reader = ReaderProcess(); file = open(sys.argv[1], 'rb'); size = int(sys.argv[2]);"
        "reader.read(file, size, Sha256('0' * 64)); pid = reader._process.pid;"
        "maps = open(f'/proc/{pid}/maps').read(); print(pid, 'torch' in maps, flush=True); import os; os._exit(0)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.pth"), str(len(data))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    pid, has_torch = done.stdout.split()
    assert has_torch == "False"
    try:
        descriptor = os.pidfd_open(int(pid))
    except ProcessLookupError:
        return
    ended, _, _ = select.select([descriptor], [], [], 20)
    os.close(descriptor)
    assert ended
