"""`conftrack user hash`: from a password at the terminal to lines that let somebody sign in."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from conftrack.cli import cli
from conftrack.config import WebUser, load
from conftrack.web.passwords import Passwords

PASSWORD = 'mật khẩu "dài" $1'


def run(*arguments: str, typed: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli, ["user", "hash", *arguments], input=typed)
    return done.exit_code, done.stdout, done.stderr


async def test_what_is_printed_lets_the_user_sign_in(tmp_path: Path) -> None:
    """stdout is a table for the configuration as it is, and holds the password nowhere."""
    code, printed, asked = run("lan", "--role", "viewer", typed=f"{PASSWORD}\n{PASSWORD}\n")
    path = tmp_path / "conftrack.toml"
    path.write_text(printed, encoding="utf-8")
    users = load(path, {}, {}).web.users
    passwords = Passwords(users)

    assert code == 0
    assert PASSWORD not in printed + asked
    assert [(user.name, user.role) for user in users] == [("lan", "viewer")]
    assert await passwords.check("lan", PASSWORD, "::1") == users[0]
    assert await passwords.check("lan", PASSWORD + " ", "::1") is None
    assert await passwords.check("vy", PASSWORD, "::1") is None


@pytest.mark.parametrize(
    ("name", "typed"),
    [("lan", "short\nshort\n"), ("lan", "long enough\nlong enouhg\n"), ("Lan Anh", f"{PASSWORD}\n{PASSWORD}\n")],
)
def test_what_would_not_do_prints_no_lines(name: str, typed: str) -> None:
    """A short password, one that was mistyped once, and a name that the configuration refuses."""
    code, printed, _ = run(name, typed=typed)

    assert code != 0
    assert "argon2id" not in printed


async def test_nobody_signs_in_without_users() -> None:
    """An empty list of users is not a way in."""
    nobody: tuple[WebUser, ...] = ()
    assert await Passwords(nobody).check("", "", "::1") is None
