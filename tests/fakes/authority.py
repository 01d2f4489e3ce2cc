"""A certificate authority of the tests' own, for upstreams that speak TLS."""

from __future__ import annotations

import ssl
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
        ends = datetime.now(UTC) + timedelta(days=days)
        begins = min(datetime.now(UTC), ends) - timedelta(days=1)
        certificate = self._authority.issue_cert(*names, not_before=begins, not_after=ends)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context
