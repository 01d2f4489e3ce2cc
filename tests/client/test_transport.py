"""Connections to a proxy, and what happens when it does not do as it should."""

from __future__ import annotations

import json
import socket
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import torch

from zooproxy.client.loader import load
from zooproxy.client.settings import ClientSettings
from zooproxy.client.transport import ByteRange, Connection
from zooproxy.digest import Sha256
from zooproxy.errors import ProxyNotConfigured, ProxyRefused, ProxyUnreachable, TransferCorrupt
from zooproxy.wire import routes

REF = "torchvision://resnet50"
VALUES = [0.0, 1.0, 2.0, 3.0]


class _Unused:
    """A sink that nothing arrives in."""

    def room(self, position: int, most: int) -> memoryview:
        return memoryview(bytearray(most))

    def took(self, position: int, data: memoryview) -> None:
        raise AssertionError

    def file(self) -> None:
        return None

    def passed(self, count: int) -> None:
        raise AssertionError


@pytest.fixture
def published(proxy: Any) -> Any:
    proxy.publish(REF, {"a": torch.tensor(VALUES)})
    return proxy


def reply(body: bytes, status: int = 200, length: int | None = None, **headers: str) -> Callable[[Any], None]:
    return lambda handler: handler.reply(status, body, {k.replace("_", "-"): v for k, v in headers.items()}, length)


def hang_up(handler: Any) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def cut_short(handler: Any) -> None:
    handler.reply(206, b"xyz", {"Content-Range": "bytes 64-79/144"}, length=16)
    hang_up(handler)


# -- requests ---------------------------------------------------------------------------------------------


def test_requests_carry_the_token_and_ask_for_no_encoding(published: Any) -> None:
    load(REF, settings=ClientSettings((published.base,), "s3cret"))
    for _, headers in published.requests:
        assert headers["Authorization"] == "Bearer s3cret"
        assert headers["Accept-Encoding"] == "identity"


def test_requests_keep_a_path_of_the_base_url(published: Any, settings_for: Any) -> None:
    published.misbehaviours["v1"] = deque([reply(b"", 404)])
    with pytest.raises(ProxyRefused):
        load(REF, settings=settings_for(published.base + "/zoo"))
    assert published.requests[0][0].startswith("/zoo/v1/tensors?")


def test_a_kept_connection_that_the_proxy_closed_is_opened_again(published: Any) -> None:
    published.misbehaviours["blobs"].append(hang_up)
    assert load(REF)["a"].tolist() == VALUES
    assert published.paths == ["tensors", "blobs", "blobs"]


def test_a_connection_marked_close_is_not_kept(published: Any) -> None:
    index = published.indexes[REF, None][0]

    def close(handler: Any) -> None:
        handler.close_connection = True
        handler.reply(200, json.dumps(index).encode(), {"Connection": "close"})

    published.misbehaviours["tensors"].append(close)
    assert load(REF)["a"].tolist() == VALUES
    assert published.connections == 2


# -- verdicts ---------------------------------------------------------------------------------------------


def test_a_problem_becomes_a_refusal_with_its_members_and_is_not_asked_elsewhere(
    start_proxy: Any, settings_for: Any
) -> None:
    first, second = start_proxy(), start_proxy()
    with pytest.raises(ProxyRefused, match="no model is named torchvision://resnet5O") as caught:
        load("torchvision://resnet5O", settings=settings_for(first, second))
    assert (caught.value.problem, caught.value.status) == ("unknown-name", 404)
    assert caught.value.details == {"suggestions": ["torchvision://resnet50"]}
    assert len(first.requests) == 1
    assert second.requests == []


@pytest.mark.parametrize(
    "body", [b"<html>Not here</html>", b"[1]", b'{"type": "about:blank", "detail": "x"}', b"\xff", b"[" * 100_000]
)
def test_an_error_that_is_no_problem_names_the_proxy_and_the_status(published: Any, body: bytes) -> None:
    published.misbehaviours["tensors"].append(reply(body, 404))
    with pytest.raises(ProxyRefused) as caught:
        load(REF)
    assert str(caught.value) == f"{published.base} answered with status 404"
    assert (caught.value.problem, caught.value.details) == ("", {})


@pytest.mark.parametrize("status", [302, 400, 410, 416, 429, 500, 501])
def test_other_statuses_are_verdicts_as_well(published: Any, status: int) -> None:
    published.misbehaviours["blobs"].append(reply(b"", status))
    with pytest.raises(ProxyRefused) as caught:
        load(REF)
    assert caught.value.status == status


@pytest.mark.parametrize("status", [502, 503, 504])
@pytest.mark.parametrize("call", ["tensors", "blobs"])
def test_a_proxy_that_cannot_serve_now_is_left_for_the_next(
    published: Any, start_proxy: Any, settings_for: Any, status: int, call: str
) -> None:
    ailing = start_proxy()
    ailing.publish(REF, {"a": torch.tensor(VALUES)})
    ailing.misbehaviours[call].append(reply(b"", status))
    assert load(REF, settings=settings_for(ailing, published))["a"].tolist() == VALUES
    assert ailing.paths[-1] == call


def test_what_the_last_proxy_said_outweighs_one_that_was_silent(
    start_proxy: Any, settings_for: Any, dead_proxy: str
) -> None:
    ailing = start_proxy()
    ailing.misbehaviours["tensors"].append(
        lambda handler: handler.problem(502, "upstream-status", "the host answered 403", upstream_status=403)
    )
    with pytest.raises(ProxyRefused, match="the host answered 403") as caught:
        load(REF, settings=settings_for(ailing, dead_proxy))
    assert caught.value.details == {"upstream_status": 403}


# -- proxies that cannot be reached -----------------------------------------------------------------------


def test_a_dead_proxy_is_left_for_the_next(published: Any, settings_for: Any, dead_proxy: str) -> None:
    assert load(REF, settings=settings_for(dead_proxy, published, "off"))["a"].tolist() == VALUES


def test_no_proxy_reached_lists_what_was_tried(settings_for: Any, dead_proxy: str) -> None:
    with pytest.raises(ProxyUnreachable) as caught:
        load(REF, settings=settings_for(dead_proxy, "http://zooproxy.invalid:1"))
    assert f"{dead_proxy}: Connection refused" in str(caught.value)
    assert "http://zooproxy.invalid:1: " in str(caught.value)


def test_off_ends_the_list_with_its_own_words(settings_for: Any, dead_proxy: str) -> None:
    with pytest.raises(ProxyNotConfigured, match="'off'"):
        load(REF, settings=settings_for("off"))
    with pytest.raises(ProxyUnreachable, match=f"{dead_proxy}.*'off'"):
        load(REF, settings=settings_for(dead_proxy, "off"))


def test_a_plain_port_spoken_to_in_tls_is_unreachable(published: Any, settings_for: Any) -> None:
    with pytest.raises(ProxyUnreachable, match=r"https://127\.0\.0\.1"):
        load(REF, settings=settings_for(published.base.replace("http:", "https:")))


def test_a_proxy_that_hangs_up_on_a_new_connection_is_unreachable(published: Any) -> None:
    published.misbehaviours["tensors"].append(hang_up)
    with pytest.raises(ProxyUnreachable):
        load(REF)
    assert published.paths == ["tensors"]


@pytest.mark.parametrize("call", ["tensors", "blobs"])
def test_a_proxy_that_stays_silent_past_the_read_timeout_is_left_for_the_next(
    published: Any, start_proxy: Any, settings_for: Any, call: str
) -> None:
    done = threading.Event()
    slow = start_proxy()
    slow.publish(REF, {"a": torch.tensor(VALUES)})
    slow.misbehaviours[call].append(lambda handler: done.wait(10) and None)
    try:
        assert load(REF, settings=settings_for(slow, published, read=0.2))["a"].tolist() == VALUES
    finally:
        done.set()
    assert published.paths == ["tensors", "blobs"]


# -- wrong bytes ------------------------------------------------------------------------------------------


def test_a_body_cut_short_is_asked_for_once_more(published: Any) -> None:
    published.misbehaviours["blobs"].append(cut_short)
    assert load(REF)["a"].tolist() == VALUES


def test_a_body_cut_short_twice_is_asked_of_the_next_proxy(published: Any, start_proxy: Any, settings_for: Any) -> None:
    ailing = start_proxy()
    ailing.publish(REF, {"a": torch.tensor(VALUES)})
    ailing.misbehaviours["blobs"].extend([cut_short] * 2)
    assert load(REF, settings=settings_for(ailing, published))["a"].tolist() == VALUES
    assert ailing.paths == ["tensors", "blobs", "blobs"]


def test_a_body_always_cut_short_is_transfer_corrupt_with_the_count(published: Any) -> None:
    published.misbehaviours["blobs"].extend([cut_short] * 2)
    with pytest.raises(TransferCorrupt, match=r"cut the body short: 3 of 16 bytes arrived"):
        load(REF)


def test_wrong_bytes_outweigh_a_silent_proxy(published: Any, settings_for: Any, dead_proxy: str) -> None:
    published.misbehaviours["blobs"].extend([cut_short] * 2)
    with pytest.raises(TransferCorrupt):
        load(REF, settings=settings_for(published, dead_proxy))


@pytest.mark.parametrize("field", ["", "bytes 0-15/144", "bytes 64-79/145", "bytes 64-80/144", "items 64-79/144"])
def test_another_range_than_asked_for_is_transfer_corrupt(published: Any, field: str) -> None:
    published.misbehaviours["blobs"].extend([reply(b"x" * 16, 206, Content_Range=field)] * 2)
    with pytest.raises(TransferCorrupt, match="another range"):
        load(REF)


def test_a_proxy_that_ignores_ranges_is_understood(published: Any) -> None:
    (blob,) = published.blobs.values()
    published.misbehaviours["blobs"].append(reply(blob))
    assert load(REF)["a"].tolist() == VALUES
    assert published.paths == ["tensors", "blobs"]


@pytest.mark.parametrize("kept", [10, 70])
def test_a_whole_blob_cut_short_is_transfer_corrupt(published: Any, kept: int) -> None:
    (blob,) = published.blobs.values()

    def short(handler: Any) -> None:
        handler.reply(200, blob[:kept], {}, length=len(blob))
        hang_up(handler)

    published.misbehaviours["blobs"].extend([short] * 2)
    with pytest.raises(TransferCorrupt, match=r"ends before|cut the body short"):
        load(REF)


def test_a_whole_blob_of_another_length_is_transfer_corrupt(published: Any) -> None:
    published.misbehaviours["blobs"].extend([reply(b"x" * 100)] * 2)
    with pytest.raises(TransferCorrupt, match="another length"):
        load(REF)


def test_an_encoded_answer_is_transfer_corrupt(published: Any) -> None:
    published.misbehaviours["tensors"].extend([reply(zlib.compress(b"{}"), Content_Encoding="deflate")] * 2)
    with pytest.raises(TransferCorrupt, match="content encoding"):
        load(REF)


@pytest.mark.parametrize("body", [b"<html>", b"\xff\xfe", b"", b"[" * 100_000])
def test_an_answer_that_is_no_json_is_transfer_corrupt(published: Any, body: bytes) -> None:
    published.misbehaviours["tensors"].extend([reply(body)] * 2)
    with pytest.raises(TransferCorrupt, match="no JSON"):
        load(REF)


def test_an_index_cut_short_is_transfer_corrupt(published: Any) -> None:
    def short(handler: Any) -> None:
        handler.reply(200, b"{}", {}, length=10)
        hang_up(handler)

    published.misbehaviours["tensors"].extend([short] * 2)
    with pytest.raises(TransferCorrupt, match="8 bytes are missing"):
        load(REF)


def test_a_chunked_index_is_read_and_a_broken_one_is_transfer_corrupt(published: Any, settings_for: Any) -> None:
    def chunked(tail: bytes) -> Callable[[Any], None]:
        def send(handler: Any) -> None:
            handler.close_connection = True
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1, 2\r\n" + tail)

        return send

    with closing(Connection(published.base, settings_for(published))) as connection:
        published.misbehaviours["tensors"].append(chunked(b"1\r\n]\r\n0\r\n\r\n"))
        assert connection.get_json(routes.TENSORS, {}).body == [1, 2]
        published.misbehaviours["tensors"].append(chunked(b"9\r\n]"))
        with pytest.raises(TransferCorrupt, match="broke off"):
            connection.get_json(routes.TENSORS, {})


def test_a_reset_in_the_middle_of_a_blob_is_transfer_corrupt(
    settings_for: Any, raw_server: Callable[[bytes], str]
) -> None:
    base = raw_server(b"HTTP/1.1 206 X\r\nContent-Range: bytes 0-9/10\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n")
    with closing(Connection(base, settings_for(base))) as connection, pytest.raises(TransferCorrupt, match="broke off"):
        connection.get_range(ByteRange(Sha256("0" * 64), 10, 0, 10), _Unused())


def test_an_answer_that_is_no_http_is_unreachable(settings_for: Any, raw_server: Callable[[bytes], str]) -> None:
    with pytest.raises(ProxyUnreachable):
        load(REF, settings=settings_for(raw_server(b"SSH-2.0-OpenSSH_9.6\r\n")))


@pytest.fixture
def raw_server() -> Iterator[Callable[[bytes], str]]:
    """A server that reads one request and answers with exactly these bytes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def start(answer: bytes) -> str:
        def serve() -> None:
            accepted, _ = listener.accept()
            with accepted:
                accepted.recv(1 << 16)
                accepted.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    listener.close()
