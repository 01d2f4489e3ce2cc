"""Which certificate authorities upstreams may have: the system's, and those of the operator's file."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx2

from zooproxy.errors import SettingsError


def trusted_certificates(ca_file: Path | None = None) -> ssl.SSLContext:
    """A context for clients. Variables of the environment (SSL_CERT_FILE) are left alone: settings say what is trusted.

    Raises:
        SettingsError: ``ca_file`` cannot be read, or holds no certificate.
    """
    context = httpx2.create_ssl_context(trust_env=False)
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:  # an SSLError is one too
            raise SettingsError(f"CA_FILE: {ca_file} is no file of PEM certificates that can be read") from error
    return context
