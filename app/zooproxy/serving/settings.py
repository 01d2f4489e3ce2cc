"""The service's settings: environment variables ``ZOOPROXY_<NAME>``, or the same names in ``zooproxy.toml``.

The environment outranks the file. A key that is not known is refused, in either place: a setting that is misspelt
must not be a setting that is silently off. ``zooproxy.example.toml`` is made from the descriptions here.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import (
    SettingsError as SourceError,
)

from zooproxy.errors import SettingsError
from zooproxy.serving.setting_faults import PREFIX, Faults, variable_of
from zooproxy.wire.routes import DEFAULT_PORT

FILE: Final = "zooproxy.toml"

#: The client's own variables; the same shell may well hold both.
_CLIENTS: Final = frozenset(
    {"ZOOPROXY_TOKEN", "ZOOPROXY_CACHE_DIR", "ZOOPROXY_CACHE_SIZE", "ZOOPROXY_CONNECTIONS", "ZOOPROXY_LOCK"}
)

#: What a running proxy takes over on SIGHUP; the rest needs a restart.
RELOADED: Final = frozenset(
    {
        *("admin_tokens", "read_tokens", "reads_need_token", "tls_cert", "tls_key"),
        *("offline", "mirrors", "parent", "parent_token", "pins", "lock_file", "private_hosts"),
        *("allow_hosts", "deny_hosts", "allow_names", "deny_names"),
        *("max_file_bytes", "tries", "retry_seconds", "minimum_rate", "minimum_rate_seconds", "bandwidth"),
        *("segments", "segment_bytes"),
    }
)

_BASE = "^https?://[^/?#]+/?$"


class S3Cluster(BaseModel):
    """One S3 service; ``endpoint`` is left out for Amazon's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: Annotated[str | None, Field(pattern=_BASE)] = None
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: SecretStr | None = None
    path_style: bool = True


class Settings(BaseSettings):
    """What an operator can set. ``title`` begins a group of keys in the example file."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, toml_file=FILE, extra="forbid", frozen=True)

    data_dir: Annotated[
        Path,
        Field(
            title="The service",
            description="where blobs and the database lie; a local file system (locks and SQLite's WAL need one)",
        ),
    ] = Path(".zooproxy")
    host: Annotated[str, Field(description="address to listen on")] = "0.0.0.0"  # noqa: S104  # a proxy for the LAN
    port: Annotated[int, Field(description="port to listen on; 0 takes a free one", ge=0, le=65535)] = DEFAULT_PORT
    workers: Annotated[
        int,
        Field(
            description="processes that serve, on one port and one data directory; what is limited for the whole "
            "service is shared out among them",
            ge=1,
            le=64,
        ),
    ] = 1
    database_url: Annotated[
        str | None,
        Field(
            description="SQLAlchemy URL of the database; without one, SQLite in the data directory",
            examples=["sqlite:////var/lib/zooproxy/zooproxy.db"],
        ),
    ] = None
    transfers: Annotated[
        int,
        Field(
            description="how many files are sent at once; as many requests wait, the rest get 503 with Retry-After",
            ge=1,
        ),
    ] = 512
    accel_redirect: Annotated[
        str | None,
        Field(
            description="behind nginx: its internal location over DATA_DIR/blobs, from which it sends raw files itself "
            "(docker/nginx.conf)",
            pattern="^/.*/$",
            examples=["/zooproxy-blobs/"],
        ),
    ] = None
    shutdown_seconds: Annotated[
        int, Field(description="how long running transfers may take to end after SIGTERM", ge=0)
    ] = 30
    admin_tokens: Annotated[
        list[SecretStr],
        Field(
            title="Access",
            description="bearer tokens for calls that change state, besides those of `zooproxy token`; with none of "
            "either, only programs on the proxy's own machine may make them",
            examples=[["<32 random characters>"]],
        ),
    ] = []
    read_tokens: Annotated[
        list[SecretStr],
        Field(
            description="bearer tokens for reading; with one of them set, reads need a token, of any scope",
            examples=[["<32 random characters>"]],
        ),
    ] = []
    reads_need_token: Annotated[
        bool,
        Field(description="reads need a token of any scope, even without READ_TOKENS"),
    ] = False
    tls_cert: Annotated[
        Path | None,
        Field(
            description="PEM file of the proxy's certificate and its chain; with it and tls_key, it speaks HTTPS only",
            examples=["/etc/zooproxy/cert.pem"],
        ),
    ] = None
    tls_key: Annotated[
        Path | None, Field(description="PEM file of the certificate's key", examples=["/etc/zooproxy/key.pem"])
    ] = None
    tls_client_ca: Annotated[
        Path | None,
        Field(
            description="PEM file of authorities; with it, only clients with a certificate of theirs are taken; "
            "`zooproxy healthy` shows the proxy's own",
            examples=["/etc/zooproxy/clients.pem"],
        ),
    ] = None
    offline: Annotated[
        bool, Field(title="Whom it fetches from", description="serve what is held and fetch nothing")
    ] = False
    mirrors: Annotated[
        dict[str, list[str]],
        Field(
            description='host -> base URLs tried before the host itself; "off" at the end leaves the host out',
            examples=[{"download.openmmlab.com": ["https://mirror.lan/openmmlab", "off"]}],
        ),
    ] = {}
    parent: Annotated[
        str | None,
        Field(
            description="base URL of another zooproxy to ask first, for every source",
            pattern=_BASE,
            examples=["http://core.lan:8765"],
        ),
    ] = None
    parent_token: Annotated[
        SecretStr | None,
        Field(
            description="bearer token that the parent is asked with, and nobody else; scope read will do",
            examples=["<32 random characters>"],
        ),
    ] = None
    pins: Annotated[
        dict[str, str],
        Field(
            description="reference -> the full sha256 it must have; holds for every reference to that source and "
            "outranks the hint in a file name",
            examples=[{"torchvision://resnet50": "<64 hexadecimal digits>"}],
        ),
    ] = {}
    lock_file: Annotated[
        Path | None,
        Field(
            description="a weights.lock (see `zooproxy lock`): nothing is fetched and served but what is in it, "
            "with exactly those digests; read at start",
            examples=["/etc/zooproxy/weights.lock"],
        ),
    ] = None
    bundle_keys: Annotated[
        list[Path],
        Field(
            description="public keys (PEM files): a bundle is imported only if one of them signed it, and what it says "
            "of its checkpoints' insides is believed",
            examples=[["/etc/zooproxy/bundles.pub"]],
        ),
    ] = []
    allow_hosts: Annotated[
        list[str],
        Field(
            description="hosts to fetch from besides the catalog's own; `*.example.org` and `*` work",
            examples=[["files.example.org", "*.internal.example"]],
        ),
    ] = []
    deny_hosts: Annotated[
        list[str],
        Field(
            description="hosts never to fetch from, whoever allows them: sources there are refused, mirrored or not, "
            "and no redirect leads there; what is held stays. Written as in allow_hosts",
            examples=[["huggingface.co", "*.example.org"]],
        ),
    ] = []
    allow_names: Annotated[
        list[str],
        Field(
            description="if set, nothing else is served: glob patterns over canonical references, or the URLs they "
            "lead to. Refused are checkpoints, fills, mirrored files, children's requests and blobs, held or not; "
            "resolve explains such a name with the state `denied`, and it is still listed",
            examples=[["torchvision://*", "mmdet://faster-rcnn_*"]],
        ),
    ] = []
    deny_names: Annotated[
        list[str],
        Field(
            description="patterns likewise of what is not served, whatever allow_names says",
            examples=[["mmyolo://*", "https://files.example.org/private/*"]],
        ),
    ] = []
    private_hosts: Annotated[
        list[str], Field(description="hosts that may have addresses which are not public; mirrors may anyway")
    ] = []
    ca_file: Annotated[
        Path | None,
        Field(
            description="PEM file of certificate authorities that upstreams, mirrors and S3 services may have besides "
            "the system's",
            examples=["/etc/ssl/site-ca.pem"],
        ),
    ] = None
    s3: Annotated[
        dict[str, S3Cluster],
        Field(
            description="S3 services by the cluster's name; `default` is that of references without a cluster; "
            "without keys it is asked anonymously",
            examples=[{"default": {"endpoint": "https://s3.lan", "access_key": "…", "secret_key": "…"}}],
        ),
    ] = {}
    cache_max_bytes: Annotated[
        int,
        Field(
            title="What it keeps, and how",
            description="how many bytes of blobs are held; beyond that the least recently used leave, derived ones "
            "first and pinned ones never; 0 for as many as the disk takes",
            ge=0,
        ),
    ] = 0
    spare_bytes: Annotated[
        int, Field(description="bytes of the disk that stay free; blobs leave before a fill is refused for them", ge=0)
    ] = 64 << 20
    scrub_bytes_per_second: Annotated[
        int,
        Field(
            description="how fast blobs are read again in the background, to find those that have rotted; 0 for never",
            ge=0,
        ),
    ] = 16 << 20
    scrub_days: Annotated[
        float, Field(description="each blob is read again when it was last verified so many days ago", gt=0)
    ] = 30.0
    max_file_bytes: Annotated[
        int,
        Field(title="How it fetches", description="largest file that is fetched, in bytes; 0 for any", ge=0),
    ] = 0
    fills: Annotated[int, Field(description="how many fills run at once", ge=1)] = 8
    fills_per_host: Annotated[int, Field(description="how many of them from one host", ge=1)] = 4
    connections_per_host: Annotated[
        int, Field(description="how many connections to one host at once, over all fills", ge=1)
    ] = 8
    segments: Annotated[
        int,
        Field(
            description="how many connections take one file at once, where its host serves ranges and one is slow; "
            "1 for one stream",
            ge=1,
            le=32,
        ),
    ] = 4
    segment_bytes: Annotated[
        int,
        Field(description="bytes that each of them asks for at a time; a file no larger takes one connection", ge=4096),
    ] = 16 << 20
    tries: Annotated[
        int, Field(description="attempts in a row without a new byte before a candidate is left for the next", ge=1)
    ] = 5
    retry_seconds: Annotated[
        float,
        Field(
            description="the first delay between attempts; it doubles, with jitter, up to 20 s; a Retry-After up to a "
            "minute is honoured",
            ge=0,
        ),
    ] = 0.5
    connect_seconds: Annotated[
        float, Field(description="how long a connection to an upstream may take to come about", gt=0)
    ] = 10.0
    stall_seconds: Annotated[
        float, Field(description="how long an upstream may send nothing, and how long it may take to answer", gt=0)
    ] = 60.0
    minimum_rate: Annotated[
        int, Field(description="bytes per second below which a transfer counts as stalled; 0 allows any", ge=0)
    ] = 16 << 10
    minimum_rate_seconds: Annotated[float, Field(description="the time over which the minimum rate is taken", gt=0)] = (
        60.0
    )
    watch_hours: Annotated[
        float,
        Field(
            description="how often each source that is held or pinned is asked whether it is still there and still the "
            "same, and its host for its addresses and certificate; spread over that time; 0 never asks",
            ge=0,
        ),
    ] = 0
    revalidate_seconds: Annotated[
        int,
        Field(
            description="how long what is held counts as fresh where no digest is published or pinned; then upstream "
            "is asked in the background whether it has changed; 0 never asks",
            ge=0,
        ),
    ] = 86_400
    bandwidth: Annotated[int, Field(description="bytes per second of all fills together; 0 for any", ge=0)] = 0

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the base class's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def share(self, workers: int) -> Self:
        """What one of ``workers`` processes has to keep to, so that all of them together keep to these."""
        shared = ("transfers", "fills", "fills_per_host", "connections_per_host", "bandwidth")
        parts = {key: getattr(self, key) // workers for key in shared}
        least = {key: max(1, part) if getattr(self, key) else 0 for key, part in parts.items()}
        return self.model_copy(update=least)

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'zooproxy.db'}"


def read_settings(file: Path | None = None) -> Settings:
    """The settings of this process; ``file`` instead of ``zooproxy.toml`` in the working directory.

    Raises:
        SettingsError: a key is not known or a value is not what it should be; all of them are named.
    """
    path = Path(FILE) if file is None else file
    if file is not None and not file.is_file():
        raise SettingsError(f"there is no file {file}")
    faults = Faults(Settings.model_fields, os.environ, path)
    unknown = faults.unknown_variables(_CLIENTS)
    if unknown:
        raise SettingsError(unknown)
    try:
        found = _from(path)()
    except ValidationError as error:
        sentences = [faults.about(dict(problem), S3Cluster.model_fields) for problem in error.errors()]
        raise SettingsError("; ".join(sentences)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is no TOML: {error}") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except SourceError as error:
        raise SettingsError(faults.not_json()) from error
    return Settings.model_construct(found.model_fields_set, **vars(found))


def where_set(file: Path | None = None) -> Mapping[str, str]:
    """By key, the variable or the file that says what it is; those with their default are not among them."""
    path = Path(FILE) if file is None else file
    in_file = tomllib.loads(path.read_text("utf-8")) if path.is_file() else {}
    variables = {name.upper(): name for name in os.environ}
    by_variable = {key: variables.get(variable_of(key)) for key in Settings.model_fields}
    return {key.lower(): str(path) for key in in_file} | {key: name for key, name in by_variable.items() if name}


def _from(file: Path) -> type[Settings]:
    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    return FromFile
