"""TLS of the proxy's own: its certificate, whose clients it takes, and how it is asked about itself."""

from __future__ import annotations

import ssl
from pathlib import Path

from zooproxy.errors import SettingsError
from zooproxy.serving.settings import Settings


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """TLS as the settings have it; None where they have none.

    Raises:
        SettingsError: a file cannot be read or is none, or key and certificate do not belong together.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        if settings.tls_cert or settings.tls_key or settings.tls_client_ca:
            raise SettingsError("TLS needs both TLS_CERT and TLS_KEY; one of them is not set")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_certificate(context, settings.tls_cert, settings.tls_key)
    if settings.tls_client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_authorities(context, settings.tls_client_ca)
    return context


def load_certificate(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """From now on new connections get this certificate.

    Raises:
        SettingsError: as ``server_context``.
    """
    try:
        context.load_cert_chain(certificate, key, password="")  # or it would ask at the terminal
    except ssl.SSLError as error:
        raise SettingsError(
            f"TLS_CERT {certificate} and TLS_KEY {key} are no PEM certificate and its key without a passphrase "
            f"({_reason(error)})"
        ) from error
    except OSError as error:
        raise SettingsError(f"TLS_CERT {certificate} or TLS_KEY {key} cannot be read: {error.strerror}") from error


def own_context(settings: Settings) -> ssl.SSLContext | None:
    """For a connection to this very proxy: it must show the certificate of the settings, whoever signed that.

    Raises:
        SettingsError: as ``server_context``.
    """
    if server_context(settings) is None or settings.tls_cert is None or settings.tls_key is None:
        return None
    context = ssl.create_default_context(cafile=str(settings.tls_cert))
    context.check_hostname = False  # it is asked at an address of this machine; the certificate itself is what counts
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if settings.tls_client_ca is not None:
        load_certificate(context, settings.tls_cert, settings.tls_key)
    return context


def _load_authorities(context: ssl.SSLContext, file: Path) -> None:
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as error:
        raise SettingsError(f"TLS_CLIENT_CA {file} holds no PEM certificates ({_reason(error)})") from error
    except OSError as error:
        raise SettingsError(f"TLS_CLIENT_CA {file} cannot be read: {error.strerror}") from error


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "no PEM").lower().replace("_", " ")
