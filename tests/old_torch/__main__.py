"""``make oldtorch PYTHON_OLD=/path/to/python``, or in tests/ ``python -m old_torch PYTHON``: an interpreter with an old
torch writes checkpoints, and each way is compared.

Ours reads what the old torch wrote, bit-equal to this torch. The old torch (1.6 and up: it needs to read zips) loads
our ``format=pth`` of each, plainly and under ``weights_only=True`` where it has that, and finds what it wrote. Our
client, under that interpreter (Python 3.9 and up), loads each from a proxy. Ends with status 1 at the first difference.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch

from end_to_end.proxy_process import running_proxy
from formats.checkpoint_files import as_client, assert_same, digested, rendered
from formats.unusual_tensors import described
from zooproxy.formats.forms import Form, rendition, selected

HERE = Path(__file__).parent
APP = HERE.parents[1] / "app"
_NEEDED = (3, 9)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    python = sys.argv[1]
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        written = folder / "data" / "local"
        written.mkdir(parents=True)
        run(python, "write", written)
        files = sorted(path for path in written.iterdir() if path.suffix == ".pth")
        for path in files:
            reads(path)
        if any("zip" in path.name for path in files):
            loads_ours(python, files, folder)
        if version(python) >= _NEEDED:
            client_loads(python, files, folder / "data")
    return 0


def run(python: str, *arguments: object, **environment: str) -> None:
    command = [python, str(HERE / "checkpoints.py"), *map(str, arguments)]
    subprocess.run(command, check=True, env={**os.environ, **environment}, timeout=600)


def version(python: str) -> tuple[int, ...]:
    told = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:2])"], stdout=-1, check=True, text=True)
    return tuple(map(int, told.stdout.split()))


def reads(path: Path) -> None:
    """The whole tree, through the client's assembly, against this torch."""
    data = path.read_bytes()
    ours, _ = as_client(selected(digested(data), Form("full"), None), data)
    if "module" in path.name:  # this torch need not know that torch's classes
        print(f"we read {path.name}: {len(ours)} tensors")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is deprecated by now
        theirs = torch.load(path, map_location="cpu", weights_only=False)
    if path.name.startswith(("quantised", "sparse")):
        assert {key: described(value) for key, value in ours.items()} == {
            key: described(value) for key, value in theirs.items()
        }
    else:
        assert_same(ours, theirs)
    print(f"we read {path.name}")


def loads_ours(python: str, files: list[Path], folder: Path) -> None:
    pairs = []
    for path in files:
        data = path.read_bytes()
        form = Form("full", "pth")
        made = folder / f"ours-{path.name}"
        made.write_bytes(rendered(rendition(selected(digested(data), form, None), form), data))
        pairs.append(f"{path}\t{made}\n")
    (folder / "pairs").write_text("".join(pairs))
    run(python, "read", folder / "pairs")


def client_loads(python: str, files: list[Path], data_dir: Path) -> None:
    names = {path.stem: path.name for path in files}
    (data_dir / "open_mmlab.json").write_text(json.dumps(names))
    with running_proxy(data_dir) as proxy:
        for stem, name in names.items():
            environment = {"ZOOPROXY": proxy.url, "ZOOPROXY_CACHE_DIR": "memory", "PYTHONPATH": str(APP)}
            run(python, "client", data_dir / "local" / name, f"open-mmlab://{stem}", **environment)


if __name__ == "__main__":
    sys.exit(main())
