"""Every operation of the API with every kind of bearer: who may call what, and what the document says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx2
import pytest

from end_to_end.proxy_process import ProxyProcess, running_proxy
from end_to_end.test_tokens import command, made
from zooproxy.wire.access import ADMIN, FILL, OPEN, POLICY_MEMBER, READ, SCOPES

METHODS = {"get", "head", "post", "put", "patch", "delete"}
#: All others that change state are an administrator's; a new one is not added here without thought.
FILLS = {("post", "/v1/fills"), ("delete", "/v1/fills/{id}")}
UNGUARDED = {("get", "/healthz"), ("get", "/readyz")}

WHO = ("nobody", READ, FILL, ADMIN, "revoked", "wrong")
MAY = {OPEN: set(WHO), READ: {READ, FILL, ADMIN}, FILL: {FILL, ADMIN}, ADMIN: {ADMIN}}
_peers = count(2)


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    policy: str

    def filled(self, document: dict[str, Any]) -> str:
        """Its path with the parameters' own examples."""
        path = self.path
        for parameter in document["paths"][self.path][self.method].get("parameters", ()):
            if parameter["in"] == "path":
                schema = parameter["schema"]
                named = [one["value"] for one in parameter.get("examples", {}).values()]
                path = path.replace(f"{{{parameter['name']}}}", (named or schema.get("examples") or ["none"])[0])
        return path


class Stage:
    def __init__(self, proxy: ProxyProcess, tokens: dict[str, str]) -> None:
        self.proxy = proxy
        self.tokens = tokens
        self.document: dict[str, Any] = proxy.get("/openapi.json").json()

    def operations(self) -> Iterator[Operation]:
        for path, methods in self.document["paths"].items():
            for method in METHODS & set(methods):
                assert POLICY_MEMBER in methods[method], f"{method} {path} has no policy: make it a GuardedRoute"
                yield Operation(method, path, methods[method][POLICY_MEMBER])

    def ask(self, operation: Operation, who: str) -> int:
        """The status; from an address of its own, so that nobody's wrong tokens count for another (no TLS, no CAs)."""
        headers = {} if who == "nobody" else {"Authorization": f"Bearer {self.tokens[who]}"}
        number = next(_peers)
        transport = httpx2.HTTPTransport(verify=False, local_address=f"127.0.{number >> 8}.{number & 255}")
        with httpx2.Client(transport=transport, trust_env=False, timeout=30) as client:
            url = self.proxy.url + operation.filled(self.document)
            with client.stream(operation.method.upper(), url, headers=headers) as answer:
                return answer.status_code


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    data_dir = tmp_path_factory.mktemp("data")
    with running_proxy(data_dir, reads_need_token="true", offline="true") as proxy:
        tokens = {scope: made(data_dir, scope) for scope in SCOPES}
        tokens |= {"revoked": made(data_dir, ADMIN), "wrong": "wrong"}
        command(data_dir, "revoke", tokens["revoked"])
        yield Stage(proxy, tokens)


def test_every_operation_declares_the_policy_of_its_kind(stage: Stage) -> None:
    for operation in stage.operations():
        key = (operation.method, operation.path)
        if key in UNGUARDED:
            assert operation.policy == OPEN, key
        elif operation.method in ("get", "head"):
            assert operation.policy in (READ, ADMIN), key
        else:
            assert operation.policy == (FILL if key in FILLS else ADMIN), key


def test_every_operation_lets_in_those_of_its_policy_and_nobody_else(stage: Stage) -> None:
    seen = 0
    for operation in stage.operations():
        for who in WHO:
            status = stage.ask(operation, who)
            may = who in MAY[operation.policy]
            refused = 403 if who in (READ, FILL) else 401
            assert (status in (401, 403)) is not may, (operation, who, status)
            assert may or status == refused, (operation, who, status)
            seen += 1
    assert seen > 90


def test_a_head_is_guarded_as_its_get_is(stage: Stage) -> None:
    for path in ("/v1/checkpoint", f"/v1/blobs/{'0' * 64}", "/mirror/download.pytorch.org/models/x.pth"):
        assert stage.proxy.request("HEAD", path).status_code == 401


def test_the_document_itself_and_the_life_signs_need_no_token(stage: Stage) -> None:
    for path in ("/openapi.json", "/docs", "/healthz", "/readyz"):
        assert stage.proxy.get(path).status_code == 200
