from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.access.principal import read_secrets
from shared.access.tokens import mac_of, new_token, prefix_of


def counting() -> Callable[[int], bytes]:
    return lambda size: bytes(range(size))


def test_a_token_carries_its_prefix_and_is_recognised_by_its_ending() -> None:
    made = new_token(counting())
    assert made.token.startswith(f"pl_{made.prefix}_")
    assert prefix_of(made.token) == made.prefix
    assert made.token.endswith(made.ending)
    assert len(made.ending) == 4


def test_a_token_never_shows_in_a_repr() -> None:
    made = new_token(counting())
    assert made.token not in repr(made)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pl_",
        "pl_aaaaaaaaaa_",
        "pl_AAAAAAAAAA_" + "x" * 43,
        "xx_aaaaaaaaaa_" + "x" * 43,
        "pl_aaaaaaaaaa_" + "x" * 44,
    ],
)
def test_what_is_no_token_has_no_prefix(text: str) -> None:
    assert prefix_of(text) is None


def test_the_mac_needs_the_pepper() -> None:
    assert mac_of(b"a" * 32, "pl_x") != mac_of(b"b" * 32, "pl_x")
    assert len(mac_of(b"a" * 32, "pl_x")) == 32


def test_secrets_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="key_pepper"):
        read_secrets(tmp_path)
    (tmp_path / "key_pepper").write_text("no hex")
    (tmp_path / "admin_token").write_text("x" * 43)
    with pytest.raises(ValueError, match="not hexadecimal"):
        read_secrets(tmp_path)
    (tmp_path / "key_pepper").write_text("ab" * 31)
    with pytest.raises(ValueError, match="too short"):
        read_secrets(tmp_path)
    (tmp_path / "key_pepper").write_text("ab" * 32 + "\n")
    secrets = read_secrets(tmp_path)
    assert secrets.pepper == bytes.fromhex("ab" * 32)
    assert "x" * 43 not in repr(secrets)
