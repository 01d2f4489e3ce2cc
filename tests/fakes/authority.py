"""A certificate authority of the tests' own, for upstreams that speak TLS."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


class Authority:
    """``file`` is what a proxy's CA_FILE names."""

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        self.file = directory / "ca.pem"
        self._authority.cert_pem.write_to_path(self.file)

    def server(self, *names: str, days: float = 30) -> ssl.SSLContext:
        """For a server of these names and addresses; its certificate ends in so many ``days``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._issue(names, days).configure_cert(context)
        return context

    def pem(self, file: Path, *names: str) -> Path:
        """``file``, written: the key and the certificates of such a server that is another program."""
        self._issue(names, 30).private_key_and_cert_chain_pem.write_to_path(file)
        return file

    def _issue(self, names: Sequence[str], days: float) -> trustme.LeafCert:
        ends = datetime.now(UTC) + timedelta(days=days)
        begins = min(datetime.now(UTC), ends) - timedelta(days=1)
        return self._authority.issue_cert(*names, not_before=begins, not_after=ends)
