"""``make mmdet``, or in tests/ ``python -m real_mmdet PYTHON``: real mmdet models, under an interpreter that has them,
get their weights through a proxy: those of the config's backbone, those of a detector, and a part of these.

Ends with status 1 at the first difference. Not in the suite: mmdet needs mmcv's native operators, which have no wheels.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from end_to_end.conftest import played_by
from end_to_end.proxy_process import clean_environment, running_proxy
from fakes.upstream import running_upstream

PROGRAM = Path(__file__).with_name("models.py")
APP = Path(__file__).parents[2] / "app"
CLASSIFIER = "/download.pytorch.org/models/resnet50-0676ba61.pth"
DETECTOR = (
    "/download.openmmlab.com/mmdetection/v2.0/retinanet/retinanet_r50_fpn_1x_coco"
    "/retinanet_r50_fpn_1x_coco_20200130-c2398f9e.pth"
)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as directory, running_upstream() as upstream:
        folder = Path(directory)
        run(sys.argv[1], "write", folder)
        pins = {}
        for path, name in ((CLASSIFIER, "classifier.pth"), (DETECTOR, "detector.pth")):
            data = (folder / name).read_bytes()
            upstream.put(path, data)
            pins[f"https:/{path}"] = hashlib.sha256(data).hexdigest()
        with running_proxy(folder / "data", mirrors=played_by(upstream), pins=pins) as proxy:
            run(sys.argv[1], "load", folder, ZOOPROXY=proxy.url, ZOOPROXY_CACHE_DIR=str(folder / "node"))
        asked = sorted(upstream.seen)
    if asked != sorted([CLASSIFIER, DETECTOR]):
        print(f"the upstream was asked for {asked}", file=sys.stderr)
        return 1
    return 0


def run(python: str, what: str, folder: Path, **environment: str) -> None:
    told = {**clean_environment(), "PYTHONPATH": str(APP), "PUBLISHED": f"https:/{DETECTOR}", **environment}
    subprocess.run([python, str(PROGRAM), what, str(folder)], check=True, env=told, timeout=600)


if __name__ == "__main__":
    sys.exit(main())
