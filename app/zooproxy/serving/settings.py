"""The service's settings: environment variables ``ZOOPROXY_<NAME>``, or the same names in ``zooproxy.toml``.

The environment outranks the file. A key that is not known is refused, in either place: a setting that is misspelt
must not be a setting that is silently off.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

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
from zooproxy.wire.routes import DEFAULT_PORT

PREFIX: Final = "ZOOPROXY_"
FILE: Final = "zooproxy.toml"

#: The client's own variables; the same shell may well hold both.
_CLIENTS: Final = frozenset(
    {"ZOOPROXY_TOKEN", "ZOOPROXY_CACHE_DIR", "ZOOPROXY_CACHE_SIZE", "ZOOPROXY_CONNECTIONS", "ZOOPROXY_LOCK"}
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
    """What an operator can set; each description is the README's."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, toml_file=FILE, extra="forbid", frozen=True)

    data_dir: Annotated[Path, Field(description="where blobs and the database lie")] = Path(".zooproxy")
    host: Annotated[str, Field(description="address to listen on")] = "0.0.0.0"  # noqa: S104  # a proxy for the LAN
    port: Annotated[int, Field(description="port to listen on; 0 takes a free one", ge=0, le=65535)] = DEFAULT_PORT
    offline: Annotated[bool, Field(description="serve what is held and fetch nothing")] = False
    mirrors: Annotated[
        dict[str, list[str]],
        Field(description='JSON, host -> base URLs tried before the host itself; "off" at the end leaves the host out'),
    ] = {}
    parent: Annotated[
        str | None, Field(description="base URL of another zooproxy to ask first, for every source", pattern=_BASE)
    ] = None
    pins: Annotated[dict[str, str], Field(description="JSON, reference -> the full sha256 it must have")] = {}
    allow_hosts: Annotated[
        list[str],
        Field(description="JSON list of hosts to fetch from besides the catalog's own; `*.example.org` and `*` work"),
    ] = []
    s3: Annotated[
        dict[str, S3Cluster],
        Field(
            description='JSON, cluster -> `{"endpoint", "region", "access_key", "secret_key", "path_style"}`;'
            " `default` is that of references without a cluster; without keys it is asked anonymously"
        ),
    ] = {}
    private_hosts: Annotated[
        list[str],
        Field(description="JSON list of hosts that may have addresses which are not public; mirrors may anyway"),
    ] = []
    max_file_bytes: Annotated[int, Field(description="largest file that is fetched, in bytes; 0 for any", ge=0)] = 0
    spare_bytes: Annotated[int, Field(description="bytes of the disk that fills leave free", ge=0)] = 64 << 20
    fills: Annotated[int, Field(description="how many fills run at once", ge=1)] = 8
    fills_per_host: Annotated[int, Field(description="how many of them from one host", ge=1)] = 4
    tries: Annotated[
        int, Field(description="attempts in a row without a new byte before a candidate is left for the next", ge=1)
    ] = 5
    retry_seconds: Annotated[
        float, Field(description="the first delay between attempts; it doubles, with jitter, up to 20 s", ge=0)
    ] = 0.5
    stall_seconds: Annotated[float, Field(description="how long an upstream may send nothing", gt=0)] = 60.0
    minimum_rate: Annotated[
        int, Field(description="bytes per second, over a minute, below which a transfer counts as stalled", ge=0)
    ] = 16 << 10
    bandwidth: Annotated[int, Field(description="bytes per second of all fills together; 0 for any", ge=0)] = 0
    database_url: Annotated[
        str | None, Field(description="SQLAlchemy URL of the database; SQLite in the data directory by default")
    ] = None
    admin_tokens: Annotated[
        list[str],
        Field(
            description="JSON list of bearer tokens for calls that change state; with none, only programs on this "
            "machine may make them",
            repr=False,
        ),
    ] = []
    transfers: Annotated[
        int, Field(description="how many files are sent at once; as many requests wait, the rest get 503", ge=1)
    ] = 512
    shutdown_seconds: Annotated[
        int, Field(description="how long running transfers may take to end after SIGTERM", ge=0)
    ] = 30

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

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'zooproxy.db'}"


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: a key is not known or a value is not what it should be; all of them are named.
    """
    _refuse_unknown(os.environ if environ is None else environ)
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(dict(problem)) for problem in error.errors())) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{FILE}: {error}") from error
    except SourceError as error:
        raise SettingsError(f"{error}; lists and maps are written as JSON") from error


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | _CLIENTS
    unknown = sorted(name for name in environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known - _CLIENTS))}")


def _sentence(problem: Mapping[str, object]) -> str:
    location = problem["loc"]
    key = ".".join(str(part) for part in location) if isinstance(location, tuple) else str(location)
    if problem["type"] == "extra_forbidden":
        return f"unknown setting {key} in {FILE}"
    return f"{PREFIX}{key.upper()}: {problem['msg']}"
