"""A job of four ranks on two nodes, which are two cache directories: who downloads, and how often."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from zooproxy.client.broadcast import from_rank_0
from zooproxy.client.storages import Buffer

REF = "torchvision://resnet50"

RANK = """
import os, sys, torch, torch.distributed as dist, zooproxy
from zooproxy.errors import ClientError
rank, folder, base = int(sys.argv[1]), sys.argv[2], sys.argv[3]
os.environ['ZOOPROXY'] = base
dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=4)

def told(what, loaded):
    print(what, [loaded['w'].sum().item(), loaded['tied'].data_ptr() == loaded['w'].data_ptr(), loaded['e'].shape[0]])

os.environ['ZOOPROXY_CACHE_DIR'] = f'{folder}/node{rank // 2}'
told('nodes', zooproxy.load('torchvision://resnet50'))
dist.barrier()
os.environ['ZOOPROXY_CACHE_DIR'] = 'memory'
told('job', zooproxy.load('torchvision://resnet50', broadcast=True))
try:
    zooproxy.load('torchvision://nothing', broadcast=True)
except ClientError as error:
    print('refused', 'no model is named' in str(error))
dist.barrier()
dist.destroy_process_group()
"""


def test_four_ranks_download_once_for_each_node_or_once_for_the_job(proxy: Any, tmp_path: Path) -> None:
    weight = torch.ones(50_000)
    proxy.publish(REF, {"w": weight, "tied": weight.view(-1), "e": torch.empty(0)})
    command = [sys.executable, "-c", RANK]
    ranks = [
        subprocess.Popen([*command, str(rank), str(tmp_path), proxy.base], stdout=subprocess.PIPE, text=True)
        for rank in range(4)
    ]
    told = [rank.communicate(timeout=120)[0].splitlines() for rank in ranks]
    expected = "[50000.0, True, 0]"
    assert told == [[f"nodes {expected}", f"job {expected}", "refused True"]] * 4
    assert proxy.paths.count("blobs") == 3  # one for each node, and one for the job
    assert len([path for path, _ in proxy.requests if "nothing" in path]) == 1


def test_without_a_process_group_the_caller_loads_for_itself(proxy: Any) -> None:
    import zooproxy

    proxy.publish(REF, {"w": torch.ones(3)}, texts=["it is old"])
    with pytest.warns(UserWarning, match="it is old"):
        assert zooproxy.load(REF, broadcast=True)["w"].tolist() == [1, 1, 1]
    buffer = Buffer(2)
    assert from_rank_0(lambda: ("text", buffer, 2)) == ("text", buffer)
