"""A real S3 service: Ceph's radosgw over one monitor and one object store in memory, all on this machine.

The recipe is the smallest cluster that serves: no authentication inside, one placement group per pool, one copy.
"""

from __future__ import annotations

import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from components.nginx import free_port
from components.programs import program

PROGRAMS = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "monmaptool")
ACCESS_KEY, SECRET_KEY = "test-key", "test-secret"
_PATIENCE = 60  # seconds for what takes two

_CONFIGURATION = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{monitor}]
auth cluster required = none
auth service required = none
auth client required = none
ms bind ipv6 = false
ms mon client mode = crc
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = {directory}
admin socket = {directory}/$name.$pid.asok
log file = {directory}/$name.log
pid file = {directory}/$name.pid
keyring = {directory}/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 1000
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 1073741824
setuser match path =
[mon]
mon data = {directory}/mon
mon cluster log file = {directory}/cluster.log
mon data avail warn = 1
mon data avail crit = 1
paxos propose interval = 0.05
[osd]
osd data = {directory}/osd
osd class load list = *
osd class default list = *
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{plain} ssl_endpoint=127.0.0.1:{tls} ssl_certificate={certificate}
rgw data = {directory}/rgw
rgw enable usage log = false
rgw enable ops log = false
rgw thread pool size = 64
rgw dynamic resharding = false
rgw override bucket index max shards = 1
rgw rados pool pg num min = 1
rgw run sync thread = false
rgw gc max objs = 1
rgw lc max objs = 1
rgw usage max shards = 1
rgw num rados handles = 1
"""


@dataclass(frozen=True)
class Radosgw:
    """``port`` speaks plain HTTP, ``tls_port`` TLS; ``gateway`` is the process that does both."""

    port: int
    tls_port: int
    gateway: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"https://127.0.0.1:{self.tls_port}"

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Connections are taken by the kernel, and nothing answers."""
        self.gateway.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.gateway.send_signal(signal.SIGCONT)


@contextmanager
def running_radosgw(directory: Path, certificate: Path) -> Iterator[Radosgw]:
    """Below ``directory``, with one user; ``certificate`` is a PEM file of key and certificates for 127.0.0.1."""
    cluster = _Cluster(directory)
    plain, tls = free_port(), free_port()
    try:
        gateway = cluster.start(_CONFIGURATION, plain=plain, tls=tls, certificate=certificate)
        _await_answer(f"http://127.0.0.1:{plain}/", gateway)
        user = ("user", "create", "--uid=test", "--display-name=test")
        keys = (f"--access-key={ACCESS_KEY}", f"--secret={SECRET_KEY}")
        cluster.call("radosgw-admin", "-n", "client.rgw", *user, *keys)
        yield Radosgw(plain, tls, gateway)
    finally:
        cluster.stop()


class _Cluster:
    def __init__(self, directory: Path) -> None:
        self._programs = {name: program(name) for name in PROGRAMS}
        self._directory = directory
        self._configuration = directory / "ceph.conf"
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self, configuration: str, **values: object) -> subprocess.Popen[bytes]:
        """The gateway, last of the three daemons to be started."""
        fsid, monitor = uuid4(), free_port()
        for name in ("mon", "osd", "rgw"):
            (self._directory / name).mkdir()
        (self._directory / "keyring").touch()
        text = configuration.format(directory=self._directory, fsid=fsid, monitor=monitor, **values)
        self._configuration.write_text(text)
        map_file = self._directory / "monmap"
        address = f"[v2:127.0.0.1:{monitor}]"
        self.call("monmaptool", "--create", "--fsid", str(fsid), "--addv", "a", address, str(map_file))
        self.call("ceph-mon", "-i", "a", "--mkfs", "--monmap", str(map_file))
        self._spawn("ceph-mon", "-i", "a")
        osd = str(uuid4())
        self.call("ceph", "osd", "new", osd)
        self.call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._spawn("ceph-osd", "-i", "0")
        return self._spawn("radosgw", "-n", "client.rgw")

    def call(self, name: str, *arguments: str) -> None:
        command = self._command(name, arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE)
        assert done.returncode == 0, f"{name} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"

    def stop(self) -> None:
        for daemon in reversed(self._daemons):
            daemon.kill()  # all of it is in memory or a test's own directory: nothing is worth an orderly end
            daemon.wait(_PATIENCE)

    def _spawn(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._directory / f"{name}.out").open("wb") as output:
            daemon = subprocess.Popen([*self._command(name, arguments), "-f"], stdout=output, stderr=output)
        self._daemons.append(daemon)
        return daemon

    def _command(self, name: str, arguments: Sequence[str]) -> list[str]:
        return [self._programs[name], "-c", str(self._configuration), *arguments]


def _await_answer(url: str, daemon: subprocess.Popen[bytes]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _PATIENCE
    while True:
        assert daemon.poll() is None, "radosgw ended at once"
        assert time.monotonic() < deadline, "radosgw never answered"
        try:
            opener.open(url, timeout=_PATIENCE).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
