"""Names that this proxy does not serve, by an operator's word, held or not: ALLOW_NAMES and DENY_NAMES.

A rule is a glob pattern over canonical references (``mmdet://*``, ``https://host/path/*``). A name is served if no
pattern of DENY_NAMES fits it, nor the URL that it leads to, and, where ALLOW_NAMES is set, one of its patterns does.
A bare URL, and a blob asked for by its digest, is served if it is the file of a name that is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from fnmatch import translate

from zooproxy.errors import NameDenied, SettingsError
from zooproxy.names.catalog import Catalog, Resolution

ALLOW: str = "ALLOW_NAMES"
DENY: str = "DENY_NAMES"


class NameRules:
    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        """
        Raises:
            SettingsError: a pattern could fit no reference.
        """
        self._allow = _patterns(ALLOW, allow)
        self._deny = _patterns(DENY, deny)
        self.are_any = bool(self._allow or self._deny)

    def refusal(self, catalog: Catalog, resolution: Resolution) -> NameDenied | None:
        """Why a reference is not served; None where it is."""
        if not self.are_any:
            return None
        url = resolution.source.url
        return self._refusal(resolution.canonical, url) if resolution.zoo else self.refusal_of_url(catalog, url)

    def refusal_of_url(self, catalog: Catalog, url: str) -> NameDenied | None:
        """Why the file at ``url`` (canonical) is not served under any of its names; None where it is."""
        refusals = [self._refusal(name, url) for name in catalog.naming(url) or (url,)]
        return None if None in refusals else refusals[0]

    def _refusal(self, name: str, url: str) -> NameDenied | None:
        named = {name, url}
        if _fits(self._deny, named):
            return NameDenied(f"this proxy does not serve {name}: a pattern of DENY_NAMES fits it", rule=DENY)
        if self._allow and not _fits(self._allow, named):
            return NameDenied(f"this proxy does not serve {name}: no pattern of ALLOW_NAMES fits it", rule=ALLOW)
        return None


def _fits(patterns: Iterable[re.Pattern[str]], texts: Collection[str]) -> bool:
    return any(pattern.match(text) for pattern in patterns for text in texts)


def _patterns(key: str, globs: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    globs = tuple(globs)
    for glob in globs:
        if "://" not in glob and not glob.startswith("*"):
            raise SettingsError(f"{key}: '{glob}' fits no reference; a pattern is written mmdet://* or https://host/*")
    return tuple(re.compile(translate(glob)) for glob in globs)
