"""Stand-ins for torch.hub's downloads: URLs of weights come through the proxy, all others from where they did.

torchvision's ``weights=…``, timm's URL weights and their like call these two. The contract is ``torch/hub.py`` of
torch 2.13.0; nothing is unpickled, so ``weights_only`` has nothing to decide.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any, Callable, Final, Optional
from urllib.parse import urlsplit

from zooproxy.client.loader import fetch
from zooproxy.client.log import print_log
from zooproxy.client.progress import Bar
from zooproxy.client.pulling import Rendition, pull, sha256_of
from zooproxy.client.settings import ClientSettings, lock_path
from zooproxy.client.storages import MapLocation
from zooproxy.wire import routes

_WEIGHTS: Final = (".pth", ".pt", ".pkl", ".ckpt", ".bin", ".safetensors", ".tar")

#: torch.hub's own idea of a hash in a file name.
_HASH = re.compile(r"-([a-f0-9]*)\.")


def load_state_dict_from_url(  # noqa: PLR0913  # torch's signature
    url: str,
    model_dir: Optional[str] = None,
    map_location: MapLocation = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: Optional[str] = None,
    weights_only: bool = False,
) -> Any:
    """The checkpoint at ``url``; what the proxy sent lies in the node's store, not in ``model_dir``.

    With a lock file no URL is left to torch: what is loaded here is weights, whatever it is called.

    Raises:
        RuntimeError: ``check_hash``, and the published file has another hash than its name says.
        ZooproxyError: what ``zooproxy.load`` raises.
    """
    if not _is_weights(url) and lock_path() is None:
        options = {"model_dir": model_dir, "map_location": map_location, "progress": progress}
        before = original(load_state_dict_from_url)
        return before(url, **options, check_hash=check_hash, file_name=file_name, weights_only=weights_only)
    loaded = fetch(url, map_location, variant=routes.FULL, progress=progress)
    for text in loaded.warnings:
        print_log(text, "current")
    if check_hash:
        match = _HASH.search(file_name or Path(urlsplit(url).path).name)
        _check(match[1] if match else "", loaded.blob)
    return loaded.value


def download_url_to_file(url: str, dst: str, hash_prefix: Optional[str] = None, progress: bool = True) -> None:
    """Writes the published file to ``dst``, all or nothing.

    Raises:
        RuntimeError: ``hash_prefix`` is given, and the file has another hash.
        ZooproxyError: what ``zooproxy.load`` raises.
    """
    if not _is_weights(url):
        original(download_url_to_file)(url, dst, hash_prefix, progress)
        return
    path = Path(dst).expanduser()
    with Bar(progress) as bar:
        pulled = pull(Rendition(url), path, ClientSettings.from_environ(), bar.report)
    if hash_prefix:
        try:
            _check(hash_prefix, sha256_of(pulled.path))
        except RuntimeError:
            pulled.path.unlink()
            raise


STAND_INS: Final[tuple[Callable[..., Any], ...]] = (load_state_dict_from_url, download_url_to_file)


def original(stand_in: Callable[..., Any]) -> Callable[..., Any]:
    """torch's own function of this name, whether or not the stand-in is in its place."""
    module = importlib.import_module("torch.hub")  # while torch itself is being imported, too
    kept: dict[str, Callable[..., Any]] = module.__dict__.setdefault("_before_zooproxy", {})
    current = getattr(module, stand_in.__name__)
    if current not in STAND_INS:
        kept[stand_in.__name__] = current
    return kept[stand_in.__name__]


def _is_weights(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and parts.path.lower().endswith(_WEIGHTS)


def _check(expected: str, actual: str) -> None:
    if actual and not actual.startswith(expected):
        raise RuntimeError(f'invalid hash value (expected "{expected}", got "{actual}")')
