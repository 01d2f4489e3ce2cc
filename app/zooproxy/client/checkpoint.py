"""mmengine's checkpoint functions, through the proxy and without mmengine.

The contract is ``mmengine/runner/checkpoint.py`` of mmengine 0.10.7: names, arguments, results, reports and errors.
This module can be put in its place: every function looks its neighbours up in the module's globals, as there. What is
put right:

* Zoo names and URLs go to the proxy; the node's store shares one download among all ranks, with no barrier.
* A strict mismatch raises on every rank of a distributed job, not on rank 0 alone while the others go on.
* Local files are read without executing anything in them, HistoryBuffer or not; ``trust=True`` unpickles.
* ``_process_mmcls_checkpoint`` refuses a checkpoint without ``backbone.`` keys instead of answering an empty one.
* A name without weights is a typed error, and so is an unknown one (a KeyError still); a local write is atomic.
* Models on the ``meta`` device are given the checkpoint's tensors where this torch can assign.
"""

# ruff: noqa: SLF001  # the private names of mmengine and of torch are this module's contract

from __future__ import annotations

import io
import logging
import re
import tempfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from zooproxy.client import pavi
from zooproxy.client.installed_mmengine import fileio, get_dist_info, is_model_wrapper, is_tta_model, write_with_backend
from zooproxy.client.loader import fetch
from zooproxy.client.local import read_local
from zooproxy.client.log import Destination, print_log
from zooproxy.client.module_state import IncompatibleKeys, ReviseKeys, load_into, on_cpu, revised
from zooproxy.client.own_names import shipped_aliases, shipped_models, users_models
from zooproxy.client.settings import has_proxy, lock_path, mmengine_home
from zooproxy.client.storages import MapLocation
from zooproxy.errors import BadReference, NothingSelected, ProxyRefused
from zooproxy.names.reference import ZooReference, parse

if TYPE_CHECKING:
    import torch

ENV_MMENGINE_HOME = "MMENGINE_HOME"
ENV_XDG_CACHE_HOME = "XDG_CACHE_HOME"
DEFAULT_CACHE_DIR = "~/.cache"

_IncompatibleKeys = IncompatibleKeys
_STRIP_MODULE: ReviseKeys = ((r"^module\.", ""),)
_BACKBONE = "backbone."


# -- into a model -----------------------------------------------------------------------------------------


def load_checkpoint(  # noqa: PLR0913  # mmengine's signature, and trust
    model: torch.nn.Module,
    filename: str,
    map_location: MapLocation = None,
    strict: bool = False,
    logger: Destination = None,
    revise_keys: ReviseKeys = _STRIP_MODULE,
    *,
    trust: bool = False,
) -> Any:
    """Loads the checkpoint that ``filename`` names into ``model``; mmengine's function of this name.

    Args:
        model: a module; wrappers (data parallel, test-time augmentation) are looked through.
        filename: a reference with a scheme, such as ``torchvision://resnet50``, or a file of this machine.
        map_location: see ``zooproxy.load``; None leaves tensors on the CPU.
        strict: raise where keys or shapes do not match, instead of reporting it.
        logger: None prints; ``'silent'``, ``'current'``, a logger's name or a ``logging.Logger``.
        revise_keys: changes to the keys of the state dict, by default the removal of ``module.``.
        trust: unpickle a local file, which may then run any code.

    Returns:
        The checkpoint as loaded, keys unrevised.

    Raises:
        FileNotFoundError: a local file that is not there.
        RuntimeError: ``strict`` and a mismatch; or the checkpoint is no mapping.
        ZooproxyError: what ``zooproxy.load`` raises.
    """
    checkpoint = _load_checkpoint(filename, map_location, logger, **({"trust": True} if trust else {}))
    if not isinstance(checkpoint, dict):
        raise RuntimeError(f"No state_dict found in checkpoint file {filename}")
    return _load_checkpoint_to_model(model, checkpoint, strict, logger, revise_keys)


def _load_checkpoint(
    filename: str, map_location: MapLocation = None, logger: Destination = None, trust: bool = False
) -> Any:
    if trust and CheckpointLoader._get_checkpoint_loader(filename) is load_from_local:
        print_log(f"Loads checkpoint by local backend from path: {filename}", logger=logger)
        return load_from_local(filename, map_location, trust=True)
    return CheckpointLoader.load_checkpoint(filename, map_location, logger)


def _load_checkpoint_with_prefix(prefix: str, filename: str, map_location: MapLocation = None) -> dict[str, Any]:
    """The state dict under ``prefix``, stripped of it; through the proxy, only those tensors are moved.

    Raises:
        AssertionError: nothing lies under the prefix.
    """
    if not prefix.endswith("."):
        prefix += "."
    loader = CheckpointLoader._get_checkpoint_loader(filename)
    if loader is load_from_http or (loader in _ZOO_LOADERS and _users_own(filename) is None):
        print_log(f"Loads checkpoint by {loader.__name__[10:]} backend from path: {filename}")
        try:
            return dict(_through_proxy(filename, map_location, prefix=prefix))
        except ProxyRefused as error:
            if error.problem != NothingSelected.slug:
                raise
            raise AssertionError(f"{prefix} is not in the pretrained model") from error
    checkpoint = _load_checkpoint(filename, map_location=map_location)
    whole = checkpoint.get("state_dict", checkpoint)
    state_dict = {key[len(prefix) :]: value for key, value in whole.items() if key.startswith(prefix)}
    if not state_dict:
        raise AssertionError(f"{prefix} is not in the pretrained model")
    return state_dict


def _load_checkpoint_to_model(
    model: torch.nn.Module,
    checkpoint: dict[Any, Any],
    strict: bool = False,
    logger: Destination = None,
    revise_keys: ReviseKeys = _STRIP_MODULE,
) -> Any:
    state_dict = checkpoint.get("state_dict", checkpoint)
    if not isinstance(state_dict, Mapping):
        raise RuntimeError("the checkpoint's state_dict is no mapping of names to tensors")
    load_state_dict(model, revised(state_dict, revise_keys), strict, logger)
    return checkpoint


def load_state_dict(
    module: torch.nn.Module, state_dict: Mapping[str, Any], strict: bool = False, logger: Destination = None
) -> None:
    """Loads ``state_dict`` into ``module`` and reports on rank 0 what did not match; mmengine's function of this name.

    A missing ``num_batches_tracked`` is never reported.

    Raises:
        RuntimeError: ``strict`` and a mismatch; the message lists it.
    """
    report = load_into(module, state_dict, lambda inner: inner.module if _wraps(inner) else inner)
    if report and strict:
        raise RuntimeError(report)
    if report and get_dist_info()[0] == 0:
        print_log(report, logger=logger, level=logging.WARNING)


def _wraps(module: Any) -> bool:
    return is_model_wrapper(module) or is_tta_model(module)


# -- what names there are ---------------------------------------------------------------------------------


def get_torchvision_models() -> dict[str, Optional[str]]:
    """mmengine's map of torchvision's names to URLs, with no torchvision installed; None where there are no weights."""
    return shipped_models("torchvision")


def get_external_models() -> dict[str, Optional[str]]:
    """mmengine's ``openmmlab`` map, and over it the user's own ``$MMENGINE_HOME/open_mmlab.json``."""
    return {**shipped_models("openmmlab"), **users_models(_get_mmengine_home())}


def get_mmcls_models() -> dict[str, Optional[str]]:
    return shipped_models("mmcls")


def get_deprecated_model_names() -> dict[str, str]:
    return shipped_aliases("openmmlab")


def _get_mmengine_home() -> str:
    home = mmengine_home()
    home.mkdir(parents=True, exist_ok=True)
    return str(home)


# -- the registry -----------------------------------------------------------------------------------------

Loader = Callable[..., Any]


class CheckpointLoader:
    """Loaders by the prefix of what they load; mmengine's class of this name."""

    _schemes: dict[str, Loader] = {}  # noqa: RUF012  # rebound at each registration, as mmengine's is

    @classmethod
    def _register_scheme(cls, prefixes: Union[str, Sequence[str]], loader: Loader, force: bool = False) -> None:
        if isinstance(prefixes, str):
            prefixes = [prefixes]
        elif not isinstance(prefixes, (list, tuple)):
            raise AssertionError("prefixes is a str, or a list or tuple of them")
        clash = next((prefix for prefix in prefixes if prefix in cls._schemes), None)
        if clash is not None and not force:
            raise KeyError(
                f'{clash} is already registered as a loader backend, add "force=True" if you want to override it'
            )
        schemes = {**cls._schemes, **dict.fromkeys(prefixes, loader)}
        cls._schemes = OrderedDict(sorted(schemes.items(), key=lambda item: item[0], reverse=True))

    @classmethod
    def register_scheme(
        cls, prefixes: Union[str, Sequence[str]], loader: Optional[Loader] = None, force: bool = False
    ) -> Any:
        """Registers ``loader`` for ``prefixes`` (regular expressions); without a loader, a decorator that does.

        A loader is called as ``loader(filename, map_location)``; of prefixes that match, the longer is preferred.

        Raises:
            KeyError: a prefix is taken, and ``force`` is not given. Nothing is registered then.
        """
        if loader is not None:
            cls._register_scheme(prefixes, loader, force=force)
            return None

        def register(decorated: Loader) -> Loader:
            cls._register_scheme(prefixes, decorated, force=force)
            return decorated

        return register

    @classmethod
    def _get_checkpoint_loader(cls, path: str) -> Loader:
        loader = next(loader for prefix, loader in cls._schemes.items() if re.match(prefix, path) is not None)
        return load_from_zoo if loader is load_from_local and _is_zoo_name(path) else loader

    @classmethod
    def load_checkpoint(cls, filename: str, map_location: MapLocation = None, logger: Destination = "current") -> Any:
        """The checkpoint that the loader for ``filename`` gives."""
        loader = cls._get_checkpoint_loader(filename)
        print_log(f"Loads checkpoint by {loader.__name__[10:]} backend from path: {filename}", logger=logger)
        return loader(filename, map_location)


def load_from_local(filename: str, map_location: MapLocation = None, trust: bool = False) -> Any:
    """The checkpoint in a file of this machine; ``~`` is understood.

    Nothing in it is executed: objects of types that are not plain values arrive as ``zooproxy.wire.plain.Inert``.
    ``trust=True`` unpickles it instead, which runs whatever the file says.

    Raises:
        FileNotFoundError: there is no such file.
        MalformedCheckpoint, LimitExceeded, UnsupportedFormat: it cannot be read.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path} can not be found.")
    return read_local(path, map_location, trust)


def load_from_http(
    filename: str,
    map_location: MapLocation = None,
    model_dir: Optional[str] = None,  # noqa: ARG001
    progress: bool = True,
) -> Any:
    """The checkpoint at a URL, through the proxy.

    ``model_dir`` changes nothing: what the proxy sent lies in the node's store, under its digest. ``progress=False``
    draws no progress bar (nor does a stderr that is no terminal).
    """
    return _through_proxy(filename, map_location, progress=progress)


def load_from_pavi(filename: str, map_location: MapLocation = None) -> Any:
    """The checkpoint at a pavi path: through the proxy; without one (and without a lock file), with the pavi package.

    Raises:
        AssertionError: ``filename`` is no pavi path.
    """
    if not filename.startswith("pavi://"):
        raise AssertionError("Expected filename startswith `pavi://`, but get another one")
    if has_proxy() or lock_path():
        return _through_proxy(filename, map_location)
    return pavi.load(filename[7:], map_location)


def load_from_ceph(filename: str, map_location: MapLocation = None, backend: str = "petrel") -> Any:
    """The checkpoint in an object store: through the proxy; without one (and without a lock file), with mmengine's file
    backend ``backend``."""
    files = None if has_proxy() or lock_path() else fileio()
    if files is None:
        return _through_proxy(filename, map_location)
    data = files.get_file_backend(filename, backend_args={"backend": backend}).get(filename)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return read_local(file.name, map_location)


def load_from_torchvision(filename: str, map_location: MapLocation = None) -> Any:
    """The checkpoint of one of torchvision's names (see ``get_torchvision_models``), with no torchvision installed."""
    return load_from_http(filename, map_location=map_location)


def load_from_openmmlab(filename: str, map_location: MapLocation = None) -> Any:
    """The checkpoint of one of OpenMMLab's names, those of the user's ``open_mmlab.json`` first."""
    own = _users_own(filename)
    if own is None:
        return load_from_http(filename, map_location=map_location)
    if own.startswith(("http://", "https://")):
        return load_from_http(own, map_location=map_location)
    return load_from_local(str(Path(_get_mmengine_home()) / own), map_location)


def load_from_mmcls(filename: str, map_location: MapLocation = None) -> Any:
    """The backbone of one of mmcls' models; nothing else is moved."""
    return load_from_http(filename, map_location=map_location)


def load_from_zoo(filename: str, map_location: MapLocation = None) -> Any:
    """The checkpoint of a name in a zoo that mmengine has no loader for."""
    return load_from_http(filename, map_location=map_location)


CheckpointLoader.register_scheme("", load_from_local)
CheckpointLoader.register_scheme(("http://", "https://"), load_from_http)
CheckpointLoader.register_scheme("pavi://", load_from_pavi)
CheckpointLoader.register_scheme([r"(\S+\:)?s3://", r"(\S+\:)?petrel://"], load_from_ceph)
CheckpointLoader.register_scheme(("modelzoo://", "torchvision://"), load_from_torchvision)
CheckpointLoader.register_scheme(("open-mmlab://", "openmmlab://"), load_from_openmmlab)
CheckpointLoader.register_scheme("mmcls://", load_from_mmcls)

_ZOO_LOADERS = (load_from_torchvision, load_from_openmmlab, load_from_mmcls, load_from_zoo)


def _is_zoo_name(path: str) -> bool:
    try:
        return isinstance(parse(path), ZooReference)
    except BadReference:
        return False


def _users_own(filename: str) -> Optional[str]:
    """What the user's ``open_mmlab.json`` says of an OpenMMLab name: a URL or a path; None where it says nothing."""
    scheme, _, name = filename.partition("://")
    if scheme not in ("openmmlab", "open-mmlab"):
        return None
    models = users_models(_get_mmengine_home())
    replaced = get_deprecated_model_names().get(name)
    if replaced is not None and replaced in models:
        print_log(
            f"{scheme}://{name} is deprecated in favor of {scheme}://{replaced}",
            logger="current",
            level=logging.WARNING,
        )
        return models[replaced]
    return models.get(name)


def _through_proxy(
    filename: str, map_location: MapLocation, prefix: Optional[str] = None, progress: bool = True
) -> Any:
    loaded = fetch(filename, map_location, prefix, progress=progress)
    for text in loaded.warnings:
        print_log(text, logger="current", level=logging.WARNING)
    return loaded.value


def _process_mmcls_checkpoint(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """
    Raises:
        NothingSelected: no key begins with ``backbone.``; mmengine answers an empty state dict.
    """
    state_dict = checkpoint.get("state_dict", checkpoint)
    kept = OrderedDict((key[len(_BACKBONE) :], value) for key, value in state_dict.items() if key.startswith(_BACKBONE))
    if not kept:
        raise NothingSelected(f"this checkpoint has nothing under {_BACKBONE}, so there is no backbone to load")
    return {"state_dict": kept}


# -- out of a model ---------------------------------------------------------------------------------------


def weights_to_cpu(state_dict: Mapping[str, Any]) -> Any:
    """``state_dict`` with its tensors on the CPU, its type and its ``_metadata``."""
    moved = on_cpu(state_dict)
    moved._metadata = getattr(state_dict, "_metadata", OrderedDict())
    return moved


def get_state_dict(module: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
    """``module.state_dict()`` that looks through model wrappers at every level.

    Raises:
        AttributeError: ``destination`` has no ``_metadata``.
    """
    if is_model_wrapper(module):
        module = module.module
    if destination is None:
        destination = OrderedDict()
        destination._metadata = OrderedDict()
    local_metadata = {"version": module._version}
    destination._metadata[prefix[:-1]] = local_metadata
    module._save_to_state_dict(destination, prefix, keep_vars)
    for name, child in module._modules.items():
        if child is not None:
            get_state_dict(child, destination, f"{prefix}{name}.", keep_vars=keep_vars)
    for hook in module._state_dict_hooks.values():
        answered = hook(module, destination, prefix, local_metadata)
        destination = destination if answered is None else answered
    return destination


def _save_to_state_dict(module: Any, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
    print_log(
        f"'{_save_to_state_dict.__module__}._save_to_state_dict' is deprecated in version 0.3.0 and will be removed in "
        "version 0.5.0. Please `_save_to_state_dict` will be deprecated in the future, please use "
        "`nn.Module._save_to_state_dict` directly..",
        logger="current",
        level=logging.WARNING,
    )
    hidden = module._non_persistent_buffers_set
    buffers = {name: value for name, value in module._buffers.items() if name not in hidden}
    for name, value in {**module._parameters, **buffers}.items():
        if value is not None:
            destination[prefix + name] = value if keep_vars else value.detach()


def save_checkpoint(
    checkpoint: Any,
    filename: str,
    file_client_args: Optional[dict[str, Any]] = None,
    backend_args: Optional[dict[str, Any]] = None,
) -> None:
    """Saves ``checkpoint`` with mmengine's file backends; without mmengine, to a file of this machine, all or nothing.

    Raises:
        ValueError: both kinds of arguments, or either for a pavi path.
        ImportError: a backend is asked for that only mmengine has.
    """
    if file_client_args is not None:
        print_log(
            '"file_client_args" will be deprecated in future. Please use "backend_args" instead',
            logger="current",
            level=logging.WARNING,
        )
        if backend_args is not None:
            raise ValueError('"file_client_args" and "backend_args" cannot be set at the same time.')
    if filename.startswith("pavi://"):
        if file_client_args is not None or backend_args is not None:
            raise ValueError('"file_client_args" or "backend_args" should be "None" if filename starts with "pavi://"')
        pavi.save(_pickled(checkpoint), filename[7:])
        return
    data = _pickled(checkpoint)
    write_with_backend(data, filename, file_client_args, backend_args)


def _pickled(checkpoint: Any) -> bytes:
    import torch

    with io.BytesIO() as file:
        torch.save(checkpoint, file)
        return file.getvalue()


def find_latest_checkpoint(path: str) -> Optional[str]:
    """What ``last_checkpoint`` in the directory ``path`` names; None, and a line in the log, where there is none."""
    file = Path(path) / "last_checkpoint"
    if file.exists():
        return file.read_text().strip()
    print_log("Did not find last_checkpoint to be resumed.")
    return None
