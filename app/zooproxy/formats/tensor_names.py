"""Names of tensors: from where they stand in the tree, each once."""

from __future__ import annotations

from typing import Any, Optional

from zooproxy.errors import LimitExceeded, MalformedCheckpoint
from zooproxy.formats import limits
from zooproxy.formats.quoting import quoted

#: The keys that lead to a value, innermost first: ``(key, path of what holds it)``.
Path = Optional["tuple[Any, Path]"]


def is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8: pickles can hold halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def dotted(path: Path) -> str:
    """The keys of ``path``, outermost first, joined by dots."""
    keys: list[str] = []
    while path is not None:
        key, path = path
        keys.append(key if type(key) is str else _key_text(key))
    return ".".join(reversed(keys))


class TensorNames:
    """The names given so far."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def claim(self, path: Path) -> str:
        """The keys of ``path`` joined by dots; a name that is taken gets ``#2``, ``#3``, …

        Raises:
            LimitExceeded: the name is longer than ``limits.TENSOR_NAME``.
            MalformedCheckpoint: the name is no Unicode text.
        """
        name = dotted(path)
        if len(name) > limits.TENSOR_NAME:
            raise LimitExceeded(f"a tensor's name has more than {limits.TENSOR_NAME} characters: {quoted(name)}")
        if not is_unicode(name):
            raise MalformedCheckpoint(f"a tensor's name is no Unicode text: {quoted(name)}")
        return self._unique(name)

    def take(self, name: str) -> None:
        """A name that was given elsewhere."""
        self._taken[name] = self._taken.get(name, 0) + 1

    def _unique(self, name: str) -> str:
        count = self._taken.get(name, 0) + 1
        self._taken[name] = count
        return name if count == 1 else self._unique(f"{name}#{count}")


def _key_text(key: Any) -> str:
    return str(key) if type(key) in (int, bool) else type(key).__name__
