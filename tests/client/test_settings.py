"""What ZOOPROXY and ZOOPROXY_TOKEN may say."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from zooproxy.client.settings import ClientSettings
from zooproxy.errors import ProxyNotConfigured, SettingsError


def test_settings_keep_proxies_in_order_and_drop_final_slashes() -> None:
    settings = ClientSettings.from_environ({"ZOOPROXY": " http://a:8765/ , https://b/zoo/,,http://[::1]:80"})
    assert settings.proxies == ("http://a:8765", "https://b/zoo", "http://[::1]:80")
    assert settings.token is None


@pytest.mark.parametrize("word", ["direct", "off"])
def test_settings_end_the_list_at_direct_or_off(word: str) -> None:
    assert ClientSettings.from_environ({"ZOOPROXY": f"http://a,{word},http://b"}).proxies == ("http://a", word)


@pytest.mark.parametrize("host", ["cache.lan.", "a" * 63 + ".lan", "[::1]", "127.0.0.1", "xn--bcher-kva.example"])
def test_settings_take_every_kind_of_host(host: str) -> None:
    assert ClientSettings.from_environ({"ZOOPROXY": f"http://{host}:8765"}).proxies == (f"http://{host}:8765",)


def test_a_first_load_needs_no_tables_of_foreign_names(proxy: Any) -> None:
    proxy.publish("torchvision://resnet50", {"w": torch.ones(2)})
    program = "import sys, zooproxy; zooproxy.load('torchvision://resnet50'); sys.exit('encodings.idna' in sys.modules)"
    environment = {**os.environ, "ZOOPROXY": proxy.base, "ZOOPROXY_CACHE_DIR": "memory"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


@pytest.mark.parametrize("environ", [{}, {"ZOOPROXY": ""}, {"ZOOPROXY": " , "}])
def test_settings_without_zooproxy_show_how_to_set_it(environ: dict[str, str]) -> None:
    with pytest.raises(ProxyNotConfigured, match=r"export ZOOPROXY=http://cache\.lan:8765"):
        ClientSettings.from_environ(environ)


@pytest.mark.parametrize(
    "entry",
    [
        "cache.lan:8765",
        "cache.lan",
        "ftp://cache.lan",
        "http://",
        "http://:8765",
        "http://a:0",
        "http://a:port",
        "http://a:99999",
        "http://a b",
        "http://a/?x=1",
        "http://a/#x",
        "http://[::1",
        "http://" + "a" * 70 + ".lan",
        "http://" + "ü" * 70 + ".lan",
        "http://a..lan",
        "Direct",
    ],
)
def test_settings_with_a_malformed_url_name_it(entry: str) -> None:
    with pytest.raises(SettingsError) as caught:
        ClientSettings.from_environ({"ZOOPROXY": f"http://good,{entry}"})
    assert f"'{entry}'" in str(caught.value)


def test_settings_with_control_characters_show_none_of_them() -> None:
    with pytest.raises(SettingsError) as caught:
        ClientSettings.from_environ({"ZOOPROXY": "http://a\r\nX: y"})
    assert str(caught.value).isprintable()


def test_settings_with_a_password_in_the_url_refuse_without_showing_it() -> None:
    with pytest.raises(SettingsError) as caught:
        ClientSettings.from_environ({"ZOOPROXY": "http://user:secret@a"})
    assert "secret" not in str(caught.value)
    assert "ZOOPROXY_TOKEN" in str(caught.value)


def test_settings_read_the_token_and_hide_it_from_repr() -> None:
    settings = ClientSettings.from_environ({"ZOOPROXY": "http://a", "ZOOPROXY_TOKEN": " s3cret\n"})
    assert settings.token == "s3cret"
    assert "s3cret" not in repr(settings)


def test_settings_with_a_token_that_no_header_can_hold_refuse() -> None:
    with pytest.raises(SettingsError, match="ZOOPROXY_TOKEN") as caught:
        ClientSettings.from_environ({"ZOOPROXY": "http://a", "ZOOPROXY_TOKEN": "one\ntwo"})
    assert "two" not in str(caught.value)
