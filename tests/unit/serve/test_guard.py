"""Who may ask."""

import pytest

from lcsd.errors import BadInputError
from lcsd.serve.guard import Guard, is_loopback

LOCAL = Guard.of("127.0.0.1")
OPEN = Guard.of("0.0.0.0", ["demo.example.org"], token="right")  # noqa: S104, S106


@pytest.mark.parametrize(
    ("guard", "host", "good"),
    [
        (LOCAL, "127.0.0.1:8000", True),
        (LOCAL, "localhost:8000", True),
        (LOCAL, "LOCALHOST", True),
        (LOCAL, "[::1]:8000", True),
        (LOCAL, "localhost.attacker.example", False),
        (LOCAL, "127.0.0.1.attacker.example:8000", False),
        (LOCAL, "attacker.example:8000", False),
        (LOCAL, "192.168.1.2:8000", False),
        (LOCAL, "localhost:80@attacker.example", False),
        (LOCAL, "[::1]attacker.example", False),
        (LOCAL, "[::1", False),
        (LOCAL, "", False),
        (OPEN, "192.168.1.2:8000", True),
        (OPEN, "demo.example.org", True),
        (OPEN, "attacker.example", False),
    ],
)
def test_only_known_hosts_are_served(guard: Guard, host: str, good: bool) -> None:
    if good:
        guard.check({"Host": host}, token="right", public=False)  # noqa: S106
        return
    with pytest.raises(BadInputError, match="bad_host"):
        guard.check({"Host": host}, token="right", public=True)  # noqa: S106


@pytest.mark.parametrize(
    ("header", "value", "good"),
    [
        ("Origin", "http://localhost:8000", True),
        ("Origin", "https://localhost:8000", True),
        ("Origin", "http://localhost:9000", False),
        ("Origin", "http://attacker.example", False),
        ("Origin", "null", False),
        ("Sec-Fetch-Site", "same-origin", True),
        ("Sec-Fetch-Site", "none", True),
        ("Sec-Fetch-Site", "same-site", False),
        ("Sec-Fetch-Site", "cross-site", False),
    ],
)
def test_only_our_own_page_may_ask(header: str, value: str, good: bool) -> None:
    headers = {"Host": "localhost:8000", header: value}
    if good:
        LOCAL.check(headers, token=None, public=False)
        return
    with pytest.raises(BadInputError, match="bad_origin"):
        LOCAL.check(headers, token=None, public=False)


@pytest.mark.parametrize("token", [None, "", "wrong", "right "])
def test_a_wrong_token_is_refused(token: str | None) -> None:
    with pytest.raises(BadInputError, match="no_token"):
        OPEN.check({"Host": "10.0.0.1"}, token=token, public=False)


def test_loopback_is_told_from_others() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.1.2.3", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.2", "localhost.example")))  # noqa: S104
