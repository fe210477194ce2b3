"""`[mail]` and `[[report.mail]]` as an operator writes them, and what is said when they are wrong."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from conftrack.config import Config, MailConfig, MailingList, Secret, example, load
from conftrack.errors import ConfigError

SERVER = '[mail]\nhost = "smtp.example.vn"\nsender = "report@example.vn"\n'
LIST = '[[report.mail]]\nname = "office"\nto = ["a@example.vn"]\n'

Load = Callable[..., Config]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    def loaded(text: str, **environ: str) -> Config:
        path = tmp_path / "conftrack.toml"
        path.write_text(text, encoding="utf-8")
        return load(path, environ, {})

    return loaded


def refusal(loaded: Load, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(text, **environ)
    return re.sub(r"[^\s(]*/conftrack", "conftrack", str(caught.value))


def test_without_a_server_nobody_gets_mail(loaded: Load) -> None:
    """A configuration from before mail works as it did."""
    config = loaded("")

    assert config.mail == MailConfig()
    assert config.report.mail == ()
    assert config.report.close == "by hand"


def test_every_value_of_the_file_arrives(tmp_path: Path, loaded: Load, certificate: Path) -> None:
    """What the file says is what the program gets, typed."""
    certificate.rename(tmp_path / "ca.pem")
    (tmp_path / "pw").write_text("mật khẩu\n", encoding="utf-8")
    config = loaded("""
        [report]
        close = "when prepared"
        [[report.mail]]
        name = "office"
        to = ["a@example.vn", "b@phutho.gov.vn"]
        unit = "VIETTRI"
        languages = ["vi", "en"]
        forms = ["pdf"]
        [[report.mail]]
        name = "all"
        to = ["c@example.vn"]
        [mail]
        host = "smtp.example.vn"
        port = 2525
        security = "tls"
        username = "conftrack"
        password_file = "pw"
        ca_file = "ca.pem"
        sender = "Hội nghị trực tuyến <report@example.vn>"
        """)

    assert config.mail == MailConfig(
        host="smtp.example.vn", port=2525, security="tls", username="conftrack", password=Secret("mật khẩu"),
        ca_file=tmp_path / "ca.pem", sender="Hội nghị trực tuyến <report@example.vn>",
    )  # fmt: skip
    assert config.report.close == "when prepared"
    assert config.report.mail == (
        MailingList(
            name="office", to=("a@example.vn", "b@phutho.gov.vn"), unit="VIETTRI", languages=("vi", "en"),
            forms=("pdf",),
        ),
        MailingList(name="all", to=("c@example.vn",)),
    )  # fmt: skip


@pytest.mark.parametrize(("security", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_each_security_has_its_usual_port(loaded: Load, security: str, port: int) -> None:
    assert loaded(f'{SERVER}security = "{security}"').mail.port_used == port


def test_the_environment_wins(loaded: Load) -> None:
    """A container is told by variables, its lists too."""
    config = loaded(SERVER + LIST, CONFTRACK_MAIL_HOST="mx", CONFTRACK_REPORT_MAIL_OFFICE_TO="b@x.vn, c@x.vn")

    assert config.mail.host == "mx"
    assert config.report.mail[0].to == ("b@x.vn", "c@x.vn")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SERVER + 'hots = "x"', "unknown key `hots` in [mail] (conftrack.toml:4); did you mean `host`?"),
        (SERVER + LIST + "unti = 1", '`unti` in [[report.mail]] "office" (conftrack.toml:7); did you mean `unit`?'),
        ('[mail]\nhost = "h"', "`host` in [mail] (conftrack.toml:2) needs `sender` beside it"),
        (SERVER + 'username = "u"', "`username` in [mail] (conftrack.toml:4) needs `password` beside it"),
        (SERVER + 'password = "x9secret"', "`password` in [mail] (conftrack.toml:4) needs `username` beside it"),
        (SERVER + 'security = "ssl"', 'in [mail] (conftrack.toml:4) must be one of "starttls", "tls", "none"'),
        (SERVER.replace("report@", "report\\r\\nBcc: x@"), "`sender` in [mail] (conftrack.toml:3) must be an address"),
        (SERVER.replace("smtp.example.vn", "smtp://h"), "`host` in [mail] (conftrack.toml:2) must be the name"),
        (LIST, '`to` in [[report.mail]] "office" (conftrack.toml:3) needs the `host` of a mail server in [mail]'),
        (SERVER + LIST.replace("a@", "a b@"), "(conftrack.toml:6) must be a list of addresses"),
        (SERVER + LIST.replace('"a@example.vn"', '"a@x.vn", "A@x.vn"'), "must be a list that names each address once"),
        (SERVER + LIST.replace('"a@example.vn"', ""), "(conftrack.toml:6) must be a list of addresses"),
        (SERVER + LIST + 'forms = ["pdf", "odt"]', "`forms` in [[report.mail]]"),
        (SERVER + LIST + "forms = []", "must be a list of at least one, each once"),
        (SERVER + LIST + LIST, "must be unique: conftrack.toml:5 has it already"),
        (SERVER + LIST.replace('"office"', '"Văn phòng"'), "must be 1 to 64 lower-case letters"),
        ('[report]\nclose = "never"', 'in [report] (conftrack.toml:2) must be one of "by hand", "when prepared"'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_key_file_line_and_what_is_accepted(loaded: Load, text: str, says: str) -> None:
    told = refusal(loaded, text)

    assert says in told
    assert "x9secret" not in told


def test_mail_that_can_be_read_on_the_way_is_warned_of(loaded: Load) -> None:
    """To this machine it is quiet: that is where a relay listens."""
    assert loaded(SERVER.replace("smtp.example.vn", "127.0.0.1") + 'security = "none"').warnings == ()
    (warning,) = loaded(SERVER + 'security = "none"').warnings
    assert "`security` in [mail]" in warning
    assert "can be read on the way" in warning


def test_the_password_is_hidden(loaded: Load) -> None:
    """repr of the configuration can be logged."""
    config = loaded(SERVER + 'username = "u"\npassword = "x9secret"')

    assert "x9secret" not in repr(config)


def test_the_example_shows_every_key() -> None:
    """The example is the reference: a new field must be explained there."""
    everything = tomllib.loads(re.sub(r"^#(?=[a-z_]+ = |\[\[)", "", example(), flags=re.MULTILINE))
    (shown,) = everything["report"]["mail"]

    assert set(everything["mail"]) == {field.name for field in msgspec.structs.fields(MailConfig)} | {"password_file"}
    assert set(shown) == {field.name for field in msgspec.structs.fields(MailingList)}
