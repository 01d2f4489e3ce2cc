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

from pydantic import Field, ValidationError
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
_CLIENTS: Final = frozenset({"ZOOPROXY_TOKEN", "ZOOPROXY_CACHE_DIR", "ZOOPROXY_LOCK"})


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
    pins: Annotated[dict[str, str], Field(description="JSON, reference -> the full sha256 it must have")] = {}
    allow_hosts: Annotated[
        list[str],
        Field(description="JSON list of hosts to fetch from besides the catalog's own; `*.example.org` and `*` work"),
    ] = []
    database_url: Annotated[
        str | None, Field(description="SQLAlchemy URL of the database; SQLite in the data directory by default")
    ] = None
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
