"""A client cannot use the server to reach what its operator has not allowed."""

import socket
from typing import Any

import pytest

from server.webhooks.addresses import Networks, Unreachable
from server.webhooks.targets import Targets, Url, parse
from smalti.errors import InvalidRequest, SettingsInvalid, Unsupported

TARGETS = Targets("https://hooks.example.org,https://*.example.com:8443,http://localhost:9000")


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.org",
        "https://hooks.example.org/",
        "https://hooks.example.org:443/a/b?job=1&x=%20",
        "https://a.example.com:8443/x",
        "https://a.b.example.com:8443/x",
        "http://localhost:9000/x@y",
    ],
)
def test_urls_of_allowed_origins_pass(url: str) -> None:
    assert TARGETS.check(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/",  # another scheme
        "https://hooks.example.org:8443/",  # another port
        "https://hooks.example.org.evil.net/",
        "https://evilhooks.example.org/",
        "https://example.com:8443/",  # the star stands for at least one name
        "https://.example.com:8443/",
        "https://evilexample.com:8443/",
        "https://a.example.com/",
        "http://localhost:90000/",
        "http://127.0.0.1:9000/",
        "https://hooks.example.org@evil.net/",
        "https://evil.net#@hooks.example.org/",
        "https://evil.net\\@hooks.example.org/",
        "https://evil.net/https://hooks.example.org/",
        "https://user:secret@hooks.example.org/",
        "https://hooks.example.org/#part",
        "https://hooks.example.org/\r\nx: y",
        "https://hooks.example.org/\n",
        "https://hooks.example.org/ x",
        "https://hooks.example.org/ä",
        "https://HOOKS.example.org/",
        "HTTPS://hooks.example.org/",
        "ftp://hooks.example.org/",
        "//hooks.example.org/",
        "hooks.example.org",
        "https://hooks.example.org:/",
        "https://hooks.example.org:0/",
        "https://ｈooks.example.org/",
        "https://hooks.example.org/" + "x" * 512,
    ],
)
def test_every_other_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        TARGETS.check(url)
    assert refused.value.field == "webhook"
    assert "\n" not in str(refused.value)


def test_without_targets_there_are_no_webhooks() -> None:
    assert Targets("").check("") == ""
    with pytest.raises(Unsupported, match="sends no webhooks"):
        Targets("").check("https://hooks.example.org/")


def test_an_origin_that_cannot_be_is_refused_at_the_start() -> None:
    with pytest.raises(SettingsInvalid, match="'https://a:99999' is no origin"):
        Targets("https://a:99999")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "239.1.1.1", "255.255.255.255", "198.18.0.1", "192.0.2.1"),
        *(
            "::1",
            "::",
            "fe80::1%eth0",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
        ),
        *(
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001:0:1::1",
            "2001:db8::1",
        ),
    ],
)
def test_inner_addresses_are_not_reached(address: str) -> None:
    assert not Networks("").allow(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_public_addresses_are_reached(address: str) -> None:
    assert Networks("").allow(address)


def test_only_inner_networks_that_are_named_are_reached() -> None:
    networks = Networks("10.1.2.0/24, fd12::/16")
    assert [networks.allow(each) for each in ("10.1.2.3", "::ffff:10.1.2.3", "fd12::1")] == [True] * 3
    assert [networks.allow(each) for each in ("10.1.3.3", "127.0.0.1", "fd13::1")] == [False] * 3


def found(*addresses: str) -> Any:
    async def getaddrinfo(host: str, port: int, **options: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return getaddrinfo


async def test_a_public_name_that_leads_to_an_inner_address_is_not_followed(monkeypatch: Any) -> None:
    url = parse("https://hooks.example.org/")
    assert url == Url("https", "hooks.example.org", 443, "/")
    loop = __import__("asyncio").get_running_loop()
    monkeypatch.setattr(loop, "getaddrinfo", found("169.254.169.254", "93.184.216.34"))
    assert await Networks("").resolve(url) == ["93.184.216.34"]
    monkeypatch.setattr(loop, "getaddrinfo", found("169.254.169.254", "10.0.0.1"))
    with pytest.raises(Unreachable, match="not public"):
        await Networks("").resolve(url)


@pytest.mark.parametrize("host", ["2130706433", "0177.0.0.1", "0x7f.0.0.1", "127.1"])
async def test_other_spellings_of_an_inner_address_are_not_reached(host: str) -> None:
    """The resolver may understand them: it is the address that counts."""
    with pytest.raises(Unreachable):
        await Networks("").resolve(Url("http", host, 80, "/"))
