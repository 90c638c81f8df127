"""Which addresses may be fetched: those listed, and no trick leads elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.errors import UserError
from rollway.tools.builtin.allowed_hosts import Refused, is_address, is_public, read_hosts


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("example.com", "http://example.com/"),
        ("example.com", "https://example.com/a?b#c"),
        ("example.com", "https://EXAMPLE.com:443"),
        ("Example.COM", "http://example.com"),
        ("example.com", "http://example.com./"),
        ("example.com:8080", "http://example.com:8080/"),
        ("*.example.com", "https://a.example.com"),
        ("*.example.com", "https://a.b.example.com"),
        ("*", "https://anything.org"),
        ("*:8080", "http://anything.org:8080"),
        ("93.184.216.34", "http://93.184.216.34/"),
        ("[2606:4700::1111]", "http://[2606:4700::1111]/"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000/"),
        ("bücher.example", "http://xn--bcher-kva.example/"),
    ],
)
def test_what_is_listed_is_allowed(host: str, url: str) -> None:
    read_hosts([host]).check(url)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("example.com", "http://example.org"),
        ("example.com", "http://a.example.com"),
        ("example.com", "http://example.com.evil.org"),
        ("example.com", "http://notexample.com"),
        ("example.com", "http://example.com:8080"),
        ("example.com:8080", "http://example.com"),
        ("example.com", "http://example.com@evil.org/"),
        ("example.com", "http://user:password@example.com/"),
        ("example.com", "http://user@example.com/"),
        ("example.com", "http://evil.org#@example.com/"),
        ("example.com", "http://evil.org\\@example.com/"),
        ("example.com", "http://evil.org/example.com"),
        ("example.com", "file:///etc/passwd"),
        ("example.com", "ftp://example.com/"),
        ("example.com", "//example.com/"),
        ("example.com", "example.com"),
        ("example.com", ""),
        ("example.com", "http://"),
        ("example.com", "http://[::1"),
        ("example.com", "http://example.com:99999/"),
        ("*.example.com", "https://example.com"),
        ("*.example.com", "https://badexample.com"),
        ("*", "http://127.0.0.1/"),
        ("*", "http://8.8.8.8/"),
        ("*", "http://[::1]/"),
        ("*", "http://2130706433/"),
        ("*", "http://0x7f.1/"),
        ("*", "http://127.1/"),
        ("*", "http://anything.org:22/"),
        ("*.1", "http://127.0.0.1/"),
    ],
)
def test_what_is_not_listed_is_refused(host: str, url: str) -> None:
    with pytest.raises(Refused):
        read_hosts([host]).check(url)


@pytest.mark.parametrize(
    "host",
    ["", "http://example.com", "example.com/path", "a b", "user@example.com", "*a.com", "a.*.com", "x:y"],
)
def test_an_entry_that_is_no_host_is_the_users_mistake(host: str) -> None:
    with pytest.raises(UserError, match="is not a host"):
        read_hosts([host])


def test_a_list_is_needed() -> None:
    with pytest.raises(UserError, match="no hosts"):
        read_hosts([])
    with pytest.raises(UserError, match="must be a list"):
        read_hosts("example.com")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),
        *("224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


def test_only_a_host_listed_with_its_port_may_be_private() -> None:
    hosts = read_hosts(["localhost:8000", "inner.example", "*.example.com:80", "*:81"])
    assert hosts.may_be_private("localhost", 8000)
    assert not hosts.may_be_private("localhost", 80)
    assert not hosts.may_be_private("inner.example", 80)
    assert not hosts.may_be_private("a.example.com", 80)
    assert not hosts.may_be_private("anything.org", 81)


@given(st.text())
def test_no_text_gets_past_the_check_or_breaks_it(text: str) -> None:
    for url in (text, f"http://{text}", f"http://example.com{text}", f"http://{text}example.com"):
        try:
            checked = read_hosts(["example.com"]).check(url)
        except Refused:
            continue
        assert (checked.host or "").rstrip(".") == "example.com"


def test_every_form_of_an_address_is_one() -> None:
    for host in ("127.0.0.1", "127.1", "0x7f000001", "017700000001", "2130706433", "::1", "fe80::1%eth0"):
        assert is_address(host)
    assert not is_address("example.com")
