from __future__ import annotations

import pytest

from zooproxy.errors import HostDenied, HostNotAllowed, SettingsError
from zooproxy.fetch.policy import AllowedHosts, Candidate, Mirrors, host_of, scheme_of

URL = "https://download.pytorch.org/models/resnet50-0676ba61.pth"


@pytest.mark.parametrize(
    ("entries", "url", "allowed"),
    [
        (["download.pytorch.org"], URL, True),
        (["Download.PyTorch.org"], URL, True),
        (["pytorch.org"], URL, False),
        (["*.pytorch.org"], URL, True),
        (["*.pytorch.org"], "https://pytorch.org/x.pth", False),
        (["*.pytorch.org"], "https://evilpytorch.org/x.pth", False),
        (["pytorch.org"], "https://pytorch.org.evil.example/x.pth", False),
        (["pytorch.org"], "https://pytorch.org@evil.example/x.pth", False),
        (["*"], "http://10.0.0.1:9/x.pth", True),
        (["lan"], "http://lan:8000/x.pth", True),
        (["lan:8000"], "http://lan:8000/x.pth", True),
        (["lan:8000"], "http://lan:8001/x.pth", False),
        (["lan:8000"], "http://lan/x.pth", False),
        ([], URL, False),
        ([URL], URL, True),
        ([URL], URL + "x", False),
        ([URL], "https://download.pytorch.org/", False),
    ],
)
def test_a_host_is_allowed_by_name_by_suffix_and_by_port(entries: list[str], url: str, allowed: bool) -> None:
    assert AllowedHosts(entries).allows(url) is allowed


@pytest.mark.parametrize(
    "url",
    [URL, "http://download.pytorch.org:81/x", "https://DOWNLOAD.pytorch.org/x", "https://download.pytorch.org./x"],
)
@pytest.mark.parametrize("denied", [["download.pytorch.org"], ["*.pytorch.org"], ["*"]])
def test_a_denied_host_is_refused_whoever_allows_it(denied: list[str], url: str) -> None:
    hosts = AllowedHosts(["*", "download.pytorch.org", URL], denied)
    assert not hosts.allows(url)
    with pytest.raises(HostDenied, match=r"download\.pytorch\.org.*DENY_HOSTS"):
        hosts.check(url)
    assert not AllowedHosts(["*"], denied).allows(url)


def test_a_host_beside_a_denied_one_is_as_it_was() -> None:
    hosts = AllowedHosts(["pytorch.org", "evil.example"], ["*.pytorch.org", "evil.example:81"])
    assert hosts.allows("https://pytorch.org/x")
    assert hosts.allows("https://evil.example/x")
    assert not hosts.allows("https://evil.example:81/x")


def test_a_refused_host_is_named_with_the_way_out() -> None:
    with pytest.raises(HostNotAllowed, match=r"'evil\.example'.*ALLOW_HOSTS") as refused:
        AllowedHosts([]).check("https://evil.example/x.pth")
    assert refused.value.extras == {"host": "evil.example"}


def test_a_host_without_mirrors_is_its_own_only_candidate() -> None:
    assert Mirrors({"other.example": ["http://mirror"]}).candidates(URL) == (Candidate(URL),)


def test_mirrors_come_first_in_order_and_keep_path_and_query() -> None:
    mirrors = Mirrors({"Download.pytorch.org": ["http://a:81/pt/", "https://b"]})
    assert mirrors.candidates(URL + "?v=%2B1") == (
        Candidate("http://a:81/pt/models/resnet50-0676ba61.pth?v=%2B1", "a:81"),
        Candidate("https://b/models/resnet50-0676ba61.pth?v=%2B1", "b"),
        Candidate(URL + "?v=%2B1"),
    )


def test_off_at_the_end_leaves_the_host_itself_out() -> None:
    mirrors = Mirrors({"download.pytorch.org": ["http://a", "off"]})
    assert [candidate.url for candidate in mirrors.candidates(URL)] == ["http://a/models/resnet50-0676ba61.pth"]


def test_only_off_leaves_no_candidate() -> None:
    assert Mirrors({"download.pytorch.org": ["off"]}).candidates(URL) == ()


@pytest.mark.parametrize("base", ["ftp://a", "a/b", "http://", "http://a?x=1", "http://a#f"])
def test_a_mirror_that_is_no_base_url_is_refused_by_its_hosts_name(base: str) -> None:
    with pytest.raises(SettingsError, match=r"MIRRORS: .*'zoo\.example'"):
        Mirrors({"zoo.example": [base]})


def test_off_before_the_end_is_refused() -> None:
    with pytest.raises(SettingsError, match="'off' as the last one"):
        Mirrors({"zoo.example": ["off", "http://a"]})


def test_a_parent_is_asked_first_for_everything_but_the_sites_own_files() -> None:
    mirrors = Mirrors({"download.pytorch.org": ["http://a", "off"]}, "http://parent:8765/")
    asked, mirror = mirrors.candidates(URL)
    assert asked.url == (
        "http://parent:8765/v1/checkpoint?ref=https%3A%2F%2Fdownload.pytorch.org%2Fmodels%2Fresnet50-0676ba61.pth&variant=raw"
    )
    assert (asked.mirror_host, mirror.mirror_host) == ("parent:8765", "a")
    assert len(mirrors.candidates("lab:s3://bucket/x.pth")) == 2
    assert mirrors.candidates("local:///x.pth") == (Candidate("local:///x.pth"),)
    assert mirrors.endpoints() == {("a", 80), ("parent", 8765)}


def test_the_parents_token_is_for_the_parents_own_api_and_nothing_else() -> None:
    mirrors = Mirrors({"zoo.example": ["http://a"]}, "http://parent:8765/", "secret-1")
    asked, *others = mirrors.candidates("https://zoo.example/x.pth")
    assert mirrors.credentials(asked.url) == {"Authorization": "Bearer secret-1"}
    elsewhere = ["http://parent:87650/v1/checkpoint", "http://parent:8765.evil.example/v1/checkpoint"]
    for url in (
        *(other.url for other in others),
        *elsewhere,
        "http://parent:8765/mirror/x",
        "https://parent:8765/v1/x",
    ):
        assert mirrors.credentials(url) == {}
    assert Mirrors({}, "http://parent:8765").credentials(asked.url) == {}


@pytest.mark.parametrize("token", ["", "two words", "new\r\nline", "caf\u00e9", 'quo"ted'])
def test_a_token_that_no_header_could_carry_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(SettingsError, match="PARENT_TOKEN: a token is") as refused:
        Mirrors({}, "http://parent", token)
    assert not token or token not in str(refused.value)


def test_a_token_without_a_parent_is_refused() -> None:
    with pytest.raises(SettingsError, match="there is no PARENT"):
        Mirrors({}, None, "secret")


def test_objects_have_a_scheme_and_a_host_of_their_own() -> None:
    assert (scheme_of("lab:s3://bucket/x.pth"), host_of("lab:s3://Bucket/x.pth")) == ("s3", "lab:s3")
    assert (scheme_of(URL), host_of("https://Zoo.example:81/x")) == ("https", "zoo.example:81")


def test_a_mirrors_login_is_asked_with_and_is_no_part_of_its_host() -> None:
    mirrors = Mirrors({"zoo.example": ["https://user:secret@Mirror.lan:81/zoo"]})
    (mirror, _) = mirrors.candidates("https://zoo.example/x.pth")
    assert mirror == Candidate("https://user:secret@Mirror.lan:81/zoo/x.pth", "mirror.lan:81")
    assert host_of(mirror.url) == "mirror.lan:81"
    assert mirrors.endpoints() == {("mirror.lan", 81)}
