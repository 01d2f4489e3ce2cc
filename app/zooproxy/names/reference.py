"""References: what a user writes to name a checkpoint, checked once and carried as a value.

=====================================================  ====================  ========================================
text                                                   value                 canonical
=====================================================  ====================  ========================================
``torchvision://…``, ``modelzoo://…`` (deprecated)     ``ZooReference``      ``torchvision://…``
``openmmlab://…``, ``open-mmlab://…``                  ``ZooReference``      ``openmmlab://…``
``mmcls://…``                                          ``ZooReference``      ``mmcls://…``
``http://…``, ``https://…``                            ``UrlReference``      host in lower case, default port dropped
``[cluster:]s3://…``, ``[cluster:]petrel://…``         ``ObjectReference``   ``[cluster:]s3://bucket/key``
``pavi://…``                                           ``PaviReference``     ``pavi://…``
=====================================================  ====================  ========================================

Schemes are read in any case (RFC 3986, section 3.1); names, buckets, keys, paths and queries are kept as written.
``petrel`` is a spelling of ``s3`` (mmengine ``PetrelBackend._replace_prefix``). A URL's fragment is refused; its path
and query are never re-quoted. ``parse`` is the one door: a value that it returned needs no further check.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Final, Optional, Union

from zooproxy.errors import MalformedReference, UnknownScheme
from zooproxy.names.urls import check_target, split_authority
from zooproxy.names.zoos import ZOO_OF_SCHEME

MAX_LENGTH: Final = 2048  # characters, as given and as canonical
MAX_SHOWN: Final = 40  # of an unknown scheme, in its message
OBJECT_SCHEMES: Final = ("s3", "petrel")
_URL_SCHEMES = ("http", "https")
_SHAPE = re.compile(r"(?:(?P<cluster>[^/]*):)?(?P<scheme>[A-Za-z][A-Za-z0-9+._-]*)://(?P<rest>.*)\Z")
_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}\Z")


@dataclass(frozen=True)
class ZooReference:
    """A name in a zoo. ``scheme`` is as written (in lower case), ``zoo`` is whom it leads to."""

    text: str
    scheme: str
    name: str

    @property
    def zoo(self) -> str:
        return ZOO_OF_SCHEME[self.scheme]

    @property
    def canonical(self) -> str:
        return f"{self.zoo}://{self.name}"


@dataclass(frozen=True)
class UrlReference:
    """An http or https URL. ``port`` is None for the scheme's own; ``target`` is path and query, byte for byte."""

    text: str
    scheme: str
    host: str
    port: Optional[int]
    target: str

    @property
    def canonical(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}{self.target}"


@dataclass(frozen=True)
class ObjectReference:
    """An object in a bucket; ``cluster`` names the site's endpoint, None is the default one."""

    text: str
    cluster: Optional[str]
    bucket: str
    key: str

    @property
    def canonical(self) -> str:
        cluster = "" if self.cluster is None else f"{self.cluster}:"
        return f"{cluster}s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class PaviReference:
    """A model in pavi's model cloud."""

    text: str
    path: str

    @property
    def canonical(self) -> str:
        return f"pavi://{self.path}"


Reference = Union[ZooReference, UrlReference, ObjectReference, PaviReference]


def parse(text: str) -> Reference:
    """The reference that ``text`` is.

    Raises:
        MalformedReference: empty, too long, not printable, without a scheme (a local path), or wrong for its scheme.
        UnknownScheme: the message lists the known schemes and names a near one.
    """
    _check_text(text)
    shape = _SHAPE.match(text)
    if shape is None or shape["scheme"].lower() == "file":
        raise MalformedReference(
            "a reference starts with a scheme, such as torchvision:// or https://; a local file needs no proxy"
        )
    cluster, scheme, rest = shape["cluster"], shape["scheme"].lower(), shape["rest"]
    build = _BUILDERS.get(scheme)
    if build is None:
        raise _unknown_scheme(scheme)
    if cluster is not None and scheme not in OBJECT_SCHEMES:
        raise MalformedReference("only s3:// and petrel:// may have a cluster name before them")
    reference = build(text, cluster, scheme, rest)
    if len(reference.canonical) > MAX_LENGTH:
        raise _too_long()
    return reference


def _check_text(text: str) -> None:
    if not text or text.isspace():
        raise MalformedReference("a reference may not be empty")
    if len(text) > MAX_LENGTH:
        raise _too_long()
    if text != text.strip():
        raise MalformedReference("a reference may not start or end with white space")
    if not text.isprintable():
        raise MalformedReference("a reference may not hold control or invisible characters")


def _too_long() -> MalformedReference:
    return MalformedReference(f"a reference may have {MAX_LENGTH:,} characters at most")


def _unknown_scheme(scheme: str) -> UnknownScheme:
    shown = scheme if len(scheme) <= MAX_SHOWN else f"{scheme[:MAX_SHOWN]}…"
    near = difflib.get_close_matches(scheme[:MAX_SHOWN], _BUILDERS, n=1)
    guess = f"did you mean {near[0]}://? " if near else ""
    known = ", ".join(f"{name}://" for name in _BUILDERS)
    return UnknownScheme(f"the scheme '{shown}' is not known; {guess}known are {known}")


_Builder = Callable[[str, Optional[str], str, str], Reference]


def _zoo(text: str, _: Optional[str], scheme: str, rest: str) -> Reference:
    if not rest:
        raise MalformedReference(f"the reference names no model; write one after {scheme}://")
    return ZooReference(text, scheme, rest)


def _url(text: str, _: Optional[str], scheme: str, rest: str) -> Reference:
    end = re.search(r"[/?#]|\Z", rest)
    start = end.start() if end else len(rest)
    host, port = split_authority(scheme, rest[:start])
    target = rest[start:]
    check_target(target)
    return UrlReference(text, scheme, host, port, target if target.startswith("/") else f"/{target}")


def _object(text: str, cluster: Optional[str], scheme: str, rest: str) -> Reference:
    bucket, _, key = rest.partition("/")
    if not _BUCKET.match(bucket) or not key:
        raise MalformedReference(f"an object is written {scheme}://bucket/key")
    if cluster is not None and not _CLUSTER.match(cluster):
        raise MalformedReference("a cluster name is letters, digits, '.', '_' and '-' before the first ':'")
    return ObjectReference(text, cluster, bucket, key)


def _pavi(text: str, _: Optional[str], __: str, rest: str) -> Reference:
    if not rest:
        raise MalformedReference("the reference names no model; write one after pavi://")
    return PaviReference(text, rest)


_BUILDERS: Final[Mapping[str, _Builder]] = {
    **dict.fromkeys(ZOO_OF_SCHEME, _zoo),
    **dict.fromkeys(_URL_SCHEMES, _url),
    **dict.fromkeys(OBJECT_SCHEMES, _object),
    "pavi": _pavi,
}
