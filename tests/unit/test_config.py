"""The configuration file as an operator writes it, and what is said when it is wrong."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftrack.config import Config, DatabaseConfig, Secret, SourceConfig, WebConfig, WebUser, example, load
from conftrack.errors import ConfigError

Load = Callable[..., Config]
Refusal = Callable[..., str]


class BridgeOptions(msgspec.Struct, frozen=True, kw_only=True):
    page_size: Annotated[int, msgspec.Meta(ge=1)] = 1000
    rooms: tuple[str, ...] = ()
    level: Literal["low", "high"] = "low"
    grace: timedelta = timedelta(seconds=20)
    token: Secret | None = None
    verify: bool = True


class Bridge:
    Options: ClassVar = BridgeOptions


class Plain:
    Options: ClassVar = None


KINDS: dict[str, type] = {"bridge": Bridge, "plain": Plain}

SOURCE = """
[[sources]]
name = "hall"
kind = "bridge"
url = "https://bridge.example"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "conftrack.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """Loads a text as the file conftrack.toml, with these variables in the environment."""

    def loaded(text: str = "", **environ: str) -> Config:
        return load(write(tmp_path, text), environ, KINDS)

    return loaded


@pytest.fixture
def refusal(tmp_path: Path, loaded: Load) -> Refusal:
    """What is said of such a file, without the folder that it lies in."""

    def refusal(text: str = "", **environ: str) -> str:
        with pytest.raises(ConfigError) as caught:
            loaded(text, **environ)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return refusal


def test_without_a_file_there_are_defaults_and_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first start needs no file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", "/var/lib")

    assert load(None, {}, KINDS) == Config(
        timezone=ZoneInfo("Asia/Ho_Chi_Minh"),
        data_dir=Path("/var/lib/conftrack"),
        database=DatabaseConfig(dsn=None),
        web=WebConfig(host="127.0.0.1", port=8080),
        sources=(),
        warnings=(),
    )


def test_every_value_of_the_file_arrives(tmp_path: Path, loaded: Load, certificate: Path) -> None:
    """What the file says is what the program gets, typed."""
    certificate.rename(tmp_path / "ca.pem")
    config = loaded("""
        timezone = "Asia/Bangkok"
        data_dir = "data"
        [database]
        dsn = "postgresql://conftrack:pw@db.example/conftrack"
        [web]
        listen = "[::1]:9000"
        [[sources]]
        name = "hall"
        kind = "bridge"
        url = "https://bridge.example/"
        username = "reporter"
        password = "pw"
        live_interval = "250ms"
        history_interval = 90
        overlap = "1h30m"
        timeout = "5s"
        ca_file = "ca.pem"
        push_username = "pusher"
        push_password = "push"
        page_size = 50
        rooms = ["a", "b"]
        level = "high"
        grace = "1.5m"
        token = "t"
        verify = false
        """)

    assert config == Config(
        timezone=ZoneInfo("Asia/Bangkok"),
        data_dir=tmp_path / "data",
        database=DatabaseConfig(dsn=Secret("postgresql://conftrack:pw@db.example/conftrack")),
        web=WebConfig(host="::1", port=9000),
        sources=(
            SourceConfig(
                name="hall",
                kind="bridge",
                url="https://bridge.example/",
                username="reporter",
                password=Secret("pw"),
                live_interval=timedelta(seconds=0.25),
                history_interval=timedelta(seconds=90),
                overlap=timedelta(minutes=90),
                timeout=timedelta(seconds=5),
                ca_file=tmp_path / "ca.pem",
                push_username="pusher",
                push_password=Secret("push"),
                options=BridgeOptions(
                    page_size=50,
                    rooms=("a", "b"),
                    level="high",
                    grace=timedelta(seconds=90),
                    token=Secret("t"),
                    verify=False,
                ),
            ),
        ),
    )


HASH = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$aGFzaGhhc2hoYXNo"


def test_users_are_named_once_and_their_hashes_never_shown(loaded: Load, refusal: Refusal) -> None:
    """Who signs in stands in [[web.users]]; a plain password in place of a hash is refused without being repeated."""
    user = f'[[web.users]]\nname = "lan"\nrole = "operator"\npassword_hash = "{HASH}"\n'
    config = loaded("[web]\nhttps = true\n" + user)

    assert config.web.users == (WebUser(name="lan", role="operator", password_hash=Secret(HASH)),)
    assert HASH not in repr(config)
    assert loaded(user.replace(HASH, "x"), CONFTRACK_WEB_USERS_LAN_PASSWORD_HASH=HASH).web.users == config.web.users
    assert refusal(user + user) == (
        '`name` in [[web.users]] "lan" (conftrack.toml:6) must be unique: conftrack.toml:2 has it already'
    )
    assert refusal(user.replace(HASH, "letmein-2026")) == (
        '`password_hash` in [[web.users]] "lan" (conftrack.toml:4) must be what `conftrack user hash` prints: '
        "it starts with $argon2id$"
    )
    assert "one of " in refusal(user.replace("operator", "boss"))
    assert refusal('web.users = "lan"') == (
        "`users` in [web] (conftrack.toml:1) must be written as [[web.users]], one table for each"
    )


@pytest.mark.parametrize(
    ("web", "local"),
    [
        ("", True),
        ('listen = "[::1]:80"', True),
        ('listen = "localhost:80"', True),
        ('listen = ":80"', False),
        ('listen = "10.0.0.1:80"', False),
        ("https = true", False),
    ],
)
def test_pages_are_local_only_where_nobody_else_comes(loaded: Load, web: str, local: bool) -> None:
    """A proxy in front makes everybody's requests come from this machine: then they are nobody's."""
    assert loaded(f"[web]\n{web}").web.local is local


def test_a_kind_without_options_has_none_and_a_kind_with_options_has_its_defaults(loaded: Load) -> None:
    """A source can rely on its options being there."""
    sources = loaded(SOURCE + SOURCE.replace("hall", "other").replace("bridge", "plain")).sources

    assert [BridgeOptions(), None] == [source.options for source in sources]


def test_the_file_is_found_by_path_then_by_variable_then_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--config wins over CONFTRACK_CONFIG, which wins over ./conftrack.toml."""
    monkeypatch.chdir(tmp_path)
    Path("conftrack.toml").write_text('timezone = "Asia/Bangkok"')
    Path("variable.toml").write_text('timezone = "Asia/Tokyo"')
    Path("argument.toml").write_text('timezone = "Asia/Seoul"')
    variable = {"CONFTRACK_CONFIG": "variable.toml"}

    assert ZoneInfo("Asia/Seoul") == load(Path("argument.toml"), variable, KINDS).timezone
    assert ZoneInfo("Asia/Tokyo") == load(None, variable, KINDS).timezone
    assert ZoneInfo("Asia/Bangkok") == load(None, {}, KINDS).timezone


@pytest.mark.parametrize(("path", "environ"), [("gone.toml", {}), (None, {"CONFTRACK_CONFIG": "gone.toml"})])
def test_a_file_that_is_named_must_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str | None, environ: dict[str, str]
) -> None:
    """A misspelt path never starts conftrack with defaults instead."""
    monkeypatch.chdir(tmp_path)
    Path("conftrack.toml").touch()

    with pytest.raises(ConfigError, match=r"^gone\.toml: there is no such file"):
        load(Path(path) if path else None, environ, KINDS)


def test_the_environment_wins_over_the_file(loaded: Load) -> None:
    """Every value can be changed without touching the file; a double underscore counts as a single one."""
    text = """
        timezone = "Asia/Bangkok"
        [database]
        dsn = "postgresql://file"
        [web]
        listen = ":1"
        [[sources]]
        name = "main-hall"
        kind = "plain"
        url = "https://file.example"
        page_size = 5
        """
    config = loaded(
        text,
        CONFTRACK_TIMEZONE="Asia/Tokyo",
        CONFTRACK_DATA_DIR="/srv/data",
        CONFTRACK_DATABASE_DSN="postgres://environment",
        CONFTRACK_WEB_LISTEN="localhost:2",
        CONFTRACK_SOURCES_MAIN_HALL_KIND="bridge",
        CONFTRACK_SOURCES__MAIN_HALL__URL="https://environment.example",
        CONFTRACK_SOURCES_MAIN_HALL_LIVE_INTERVAL="7",
        CONFTRACK_SOURCES_MAIN_HALL_PASSWORD="pw",
        CONFTRACK_SOURCES_MAIN_HALL_PAGE_SIZE="20",
        CONFTRACK_SOURCES_MAIN_HALL_ROOMS="a, b",
        CONFTRACK_SOURCES_MAIN_HALL_VERIFY="false",
        CONFTRACK_SOURCES_MAIN_HALL_USERNAME="",
    )

    assert config == Config(
        timezone=ZoneInfo("Asia/Tokyo"),
        data_dir=Path("/srv/data"),
        database=DatabaseConfig(dsn=Secret("postgres://environment")),
        web=WebConfig(host="localhost", port=2),
        sources=(
            SourceConfig(
                name="main-hall",
                kind="bridge",
                url="https://environment.example",
                password=Secret("pw"),
                live_interval=timedelta(seconds=7),
                options=BridgeOptions(page_size=20, rooms=("a", "b"), verify=False),
            ),
        ),
    )


def test_a_secret_can_stand_in_a_file(tmp_path: Path, loaded: Load) -> None:
    """The file's one trailing newline is no part of the secret, nor is a byte order mark; the path is relative to the
    configuration."""
    for name, text in {"pw": "\ufeffp w \n", "dsn": "postgresql://db\r\n", "push": "push", "token": "t\n\n"}.items():
        (tmp_path / name).write_bytes(text.encode())
    config = loaded(
        '[database]\ndsn_file = "dsn"' + SOURCE + 'password_file = "pw"\ntoken_file = "token"',
        CONFTRACK_SOURCES_HALL_PUSH_PASSWORD_FILE=str(tmp_path / "push"),
    )

    assert Secret("postgresql://db") == config.database.dsn
    assert Secret("p w ") == config.sources[0].password
    assert Secret("push") == config.sources[0].push_password
    assert BridgeOptions(token=Secret("t\n")) == config.sources[0].options


def test_a_secret_in_the_environment_replaces_the_files_however_that_is_given(tmp_path: Path, loaded: Load) -> None:
    """Overriding a secret does not mean editing the file first."""
    (tmp_path / "new").write_text("new")
    in_file = SOURCE + 'password_file = "no longer there"'

    assert Secret("new") == loaded(in_file, CONFTRACK_SOURCES_HALL_PASSWORD="new").sources[0].password
    inline = SOURCE + 'password = "old"'
    assert Secret("new") == loaded(inline, CONFTRACK_SOURCES_HALL_PASSWORD_FILE="new").sources[0].password


def test_a_secret_given_twice_is_refused(refusal: Refusal) -> None:
    """Which of the two counts is never a guess."""
    assert refusal(SOURCE + 'password = "a"\npassword_file = "b"') == (
        '`password_file` in [[sources]] "hall" (conftrack.toml:7) and `password` say the same thing: keep one of them'
    )
    both = refusal(SOURCE, CONFTRACK_SOURCES_HALL_PASSWORD="a", CONFTRACK_SOURCES_HALL_PASSWORD_FILE="b")
    assert both.startswith(
        '`password_file` in [[sources]] "hall" (environment variable CONFTRACK_SOURCES_HALL_PASSWORD_FILE) and'
    )


def test_an_unknown_key_is_refused_with_the_nearest_known_one(refusal: Refusal) -> None:
    """A misspelt key never silently leaves the default in force."""
    assert refusal(SOURCE + "\nintervall = 5") == (
        'unknown key `intervall` in [[sources]] "hall" (conftrack.toml:7); did you mean `live_interval`?'
    )
    assert refusal('timezon = "UTC"') == "unknown key `timezon` (conftrack.toml:1); did you mean `timezone`?"
    assert refusal("[web]\nlistening = 1") == (
        "unknown key `listening` in [web] (conftrack.toml:2); did you mean `listen`?"
    )
    assert refusal("[databse]\n") == "unknown key `databse` (conftrack.toml:1); did you mean `database`?"
    assert refusal(SOURCE + "page_sice = 5").endswith("did you mean `page_size`?")


def test_a_key_in_the_wrong_table_is_told_where_it_belongs(refusal: Refusal) -> None:
    """TOML gives a key at the end of the file to the last table: the classic slip."""
    assert refusal(SOURCE + 'timezone = "UTC"') == (
        'unknown key `timezone` in [[sources]] "hall" (conftrack.toml:6); it belongs above the first table'
    )
    assert refusal('listen = ":80"') == "unknown key `listen` (conftrack.toml:1); it belongs in [web]"


def test_an_option_of_another_kind_is_unknown(refusal: Refusal) -> None:
    """The options of one kind are not silently accepted by another."""
    plain = SOURCE.replace('"bridge"', '"plain"').replace("hall", "other")

    assert refusal(SOURCE + plain + "page_size = 5").startswith('unknown key `page_size` in [[sources]] "other"')


def test_an_unknown_variable_is_refused_with_the_nearest_known_one(refusal: Refusal) -> None:
    """A misspelt variable never silently leaves the file's value in force."""
    assert refusal(SOURCE, CONFTRACK_WEB_LISTN="x") == (
        "unknown environment variable CONFTRACK_WEB_LISTN; did you mean CONFTRACK_WEB_LISTEN?"
    )
    assert refusal(SOURCE, CONFTRACK_SOURCES_HAL_URL="x").endswith("did you mean CONFTRACK_SOURCES_HALL_URL?")
    assert "CONFTRACK_SOURCES_HALL_NAME" in refusal(SOURCE, CONFTRACK_SOURCES_HALL_NAME="x")
    assert refusal("", CONFTRACK_SOURCES_HALL_URL="x").endswith("and there is none")


def test_variables_that_others_set_are_left_alone(loaded: Load) -> None:
    """Our own tests, and Kubernetes beside a Service called conftrack, set names that look like ours."""
    loaded(
        CONFTRACK_TEST_DSN="x",
        CONFTRACK_SERVICE_HOST="10.0.0.1",
        CONFTRACK_SERVICE_PORT_HTTP="80",
        CONFTRACK_PORT="tcp://10.0.0.1:80",
        CONFTRACK_PORT_80_TCP_ADDR="10.0.0.1",
        CONFTRACK_WEB_LISTEN="",
        HOME="/root",
    )


def test_a_variable_that_could_mean_two_sources_is_refused(refusal: Refusal) -> None:
    """a-b and a_b look alike in the environment; a value never goes to the wrong one."""
    text = SOURCE.replace("hall", "a-b") + SOURCE.replace("hall", "a_b")

    assert refusal(text, CONFTRACK_SOURCES_A_B_TIMEOUT="5s") == (
        'environment variable CONFTRACK_SOURCES_A_B_TIMEOUT is a key in [[sources]] "a-b" and in [[sources]] "a_b": '
        "rename one of them"
    )


def test_all_problems_are_told_at_once_in_the_order_of_the_file(refusal: Refusal) -> None:
    """An operator repairs a file in one go."""
    text = 'timezone = "Mars"\n[web]\nlisten = 80\n[[sources]]\nkind = "brige"\nurl = "x"\n'

    lines = refusal(text, CONFTRACK_DATABASE_DSN="mysql://x").splitlines()

    assert [found[1] for line in lines if (found := re.search("`([a-z]+)`", line))] == [
        "timezone",
        "listen",
        "name",
        "kind",
        "url",
        "dsn",
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("username = 5", "must be a text in quotes, not 5"),
        ('page_size = "many"', 'must be a whole number, not "many"'),
        ("page_size = 0", "must be a whole number >= 1, not 0"),
        ("page_size = true", "must be a whole number, not true"),
        ('verify = "false"', 'must be true or false, not "false"'),
        ('rooms = ["a", 3]', 'must be a list, each item a text in quotes, not ["a", 3]'),
        ('level = "loud"', 'must be one of "low", "high", not "loud"'),
        ('overlap = "14m"', 'must be at least 15m, for records that arrive or change late, not "14m"'),
        ("timeout = 0", "must be longer than nothing, not 0"),
        ("live_interval = 07:32:00", 'or a number of seconds, not "07:32:00"'),
        ('ca_file = "gone.pem"', 'must be a file that can be read, not "gone.pem"'),
        ('ca_file = "conftrack.toml"', 'must be a file of certificates in PEM, not "conftrack.toml"'),
        ('timeout = "9999999d"', 'must be a duration of at most 100 years, not "9999999d"'),
        ('password_file = "gone"', 'gone": No such file or directory'),
        ('push_password = ""', "must be a text in quotes, and not an empty one"),
    ],
)
def test_a_wrong_value_is_told_with_key_place_and_what_is_accepted(refusal: Refusal, line: str, says: str) -> None:
    """Nobody has to look up what a key takes."""
    message = refusal(SOURCE + line)

    assert message.startswith(f'`{line.split()[0]}` in [[sources]] "hall" (conftrack.toml:6) must be ')
    assert message.endswith(says)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10), ("5m", 300), ("1h30m", 5400), ("250ms", 0.25), ("1d", 86400), ("1.5h", 5400), ("90", 90),
        ("0.5", 0.5), ("1d2h3m4s5ms", 93784.005),
    ],
)  # fmt: skip
def test_durations(loaded: Load, text: str, seconds: float) -> None:
    """Durations read as people write them; in the environment too."""
    file = loaded(SOURCE + f'timeout = "{text}"')
    environment = loaded(SOURCE, CONFTRACK_SOURCES_HALL_TIMEOUT=text)

    assert timedelta(seconds=seconds) == file.sources[0].timeout == environment.sources[0].timeout


@pytest.mark.parametrize(
    "value",
    ['"5 minutes"', '"-5s"', "-5", '"s"', '""', "true", "nan", "inf", "1e300", '"9999999999d"', "[5]", '"30m1h"'],
)
def test_what_is_no_duration_is_refused(refusal: Refusal, value: str) -> None:
    """No interval is ever guessed."""
    assert "(conftrack.toml:6) must be a duration such as" in refusal(SOURCE + f"timeout = {value}")


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        (":8080", "0.0.0.0", 8080),  # noqa: S104 - what it asks for
        ("[::1]:8080", "::1", 8080),
        ("localhost:0", "localhost", 0),
    ],
)
def test_listen_is_an_address_and_a_port(loaded: Load, listen: str, host: str, port: int) -> None:
    """Where the pages are served."""
    assert WebConfig(host=host, port=port) == loaded(f'[web]\nlisten = "{listen}"').web


@pytest.mark.parametrize("listen", ["8080", "::1:8080", "h:65536", "h:", "http://h:80", "a b:80", "h:-1"])
def test_what_is_no_listening_address_is_refused(refusal: Refusal, listen: str) -> None:
    """With the three forms that work."""
    assert 'such as "127.0.0.1:8080", "[::1]:8080" or ":8080"' in refusal(f'[web]\nlisten = "{listen}"')


@pytest.mark.parametrize("name", ["", "Hall", "hall 1", "hội", "a" * 65, "a.b", "a\\n"])
def test_a_source_name_is_short_and_plain(refusal: Refusal, name: str) -> None:
    """Names go into metrics, addresses and variables as they are."""
    assert "must be 1 to 64 lower-case letters, digits, - or _" in refusal(SOURCE.replace("hall", name))


def test_source_names_are_unique(refusal: Refusal) -> None:
    """Facts are kept by the name of their source."""
    assert refusal(SOURCE + SOURCE) == (
        '`name` in [[sources]] "hall" (conftrack.toml:8) must be unique: conftrack.toml:3 has it already'
    )


def test_missing_keys_are_told_with_their_table(refusal: Refusal) -> None:
    """A source that is not whole is named by its number."""
    assert refusal("\n[[sources]]\n").splitlines() == [
        "missing key `kind` in [[sources]] number 1 (conftrack.toml:2)",
        "missing key `name` in [[sources]] number 1 (conftrack.toml:2)",
        "missing key `url` in [[sources]] number 1 (conftrack.toml:2)",
    ]


def test_an_unknown_kind_names_the_nearest_and_judges_no_options(refusal: Refusal) -> None:
    """A misspelt kind does not make its options look wrong."""
    text = SOURCE.replace('"bridge"', '"brigde"') + "page_size = 5"

    assert refusal(text, CONFTRACK_SOURCES_HALL_PAGE_SIZE="5") == (
        '`kind` in [[sources]] "hall" (conftrack.toml:4) must be a kind of source such as "bridge" '
        '(there are: bridge, plain), not "brigde"'
    )


@pytest.mark.parametrize(
    "url", ["bridge.example", "ftp://bridge.example", "https://", "https://h:port", "https://a b", "https://máy..vn"]
)
def test_a_url_is_a_web_address(refusal: Refusal, url: str) -> None:
    """The commonest slip is the missing scheme."""
    assert "must be an address that starts with https:// or http:// and names a host" in refusal(
        SOURCE.replace("https://bridge.example", url)
    )


@pytest.mark.parametrize("host", ["127.0.0.1:8088", "localhost", "[::1]:80"])
def test_plain_http_on_this_machine_is_quiet(loaded: Load, host: str) -> None:
    """Nobody else can read it."""
    assert loaded(SOURCE.replace("https://bridge.example", f"http://{host}/admin")).warnings == ()


def test_plain_http_to_another_machine_is_warned_of(loaded: Load) -> None:
    """It works, and the operator learns that passwords travel in the clear."""
    (warning,) = loaded(SOURCE.replace("https:", "http:")).warnings

    assert "conftrack.toml:5) is plain http" in warning


@pytest.mark.parametrize("zone", ["Asia/Ho_Chi_Min", "Asia", "../etc/passwd", "/etc/localtime", "Mars/Base"])
def test_a_time_zone_must_be_known(refusal: Refusal, zone: str) -> None:
    """Days and months are never cut in a zone that was only guessed."""
    assert "`timezone` (conftrack.toml:1) must be a time zone such as " in refusal(f'timezone = "{zone}"')


@pytest.mark.parametrize(
    ("text", "place"),
    [("a = 1\nb = \n", "conftrack.toml:2"), ("a = 1\n\n[web\n", "conftrack.toml:3"), ('a = "x', "conftrack.toml:1")],
)
def test_a_syntax_error_is_told_with_file_and_line(refusal: Refusal, text: str, place: str) -> None:
    """No traceback, and the place to look at."""
    assert refusal(text).startswith(f"{place}: is not TOML: ")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """UTF-16 from a Windows editor is told as what it is; a UTF-8 byte order mark is fine."""
    path = tmp_path / "conftrack.toml"
    path.write_bytes('timezone = "UTC"'.encode("utf-16"))
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load(path, {}, KINDS)
    path.write_bytes('timezone = "UTC"'.encode("utf-8-sig"))
    assert ZoneInfo("UTC") == load(path, {}, KINDS).timezone
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, {}, KINDS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("web = 5", "`web` (conftrack.toml:1) must be a table, [web]"),
        ("[[database]]", "`database` (conftrack.toml:1) must be a table, [database]"),
        ("\n[sources]\n", "`sources` (conftrack.toml:2) must be written as [[sources]], one table for each"),
    ],
)
def test_a_table_of_the_wrong_shape_is_told_how_to_write_it(refusal: Refusal, text: str, says: str) -> None:
    """[sources] for [[sources]] is easily written."""
    assert says == refusal(text)


def test_lines_are_right_however_the_file_is_written(refusal: Refusal) -> None:
    """Strings and lists over several lines, dotted keys, quoted keys, inline tables and Windows line ends count."""
    text = '''
        # a comment with a = sign
        web.listen = "x"
        sources = [
            {name = "one", kind = "plain", url = "https://one.example"},
            {name = "two", kind = "plain", url = "https://two.example", bad = 1},
        ]
        [database]
        note = """
        [web]
        listen = 1
        """
        "dsn" = "x"
        '''
    places = [(m[1], int(m[2])) for m in re.finditer(r"`(\w+)`.*conftrack.toml:(\d+)", refusal(text))]

    assert places == [("listen", 3), ("bad", 4), ("note", 9), ("dsn", 13)]
    assert "conftrack.toml:7)" in refusal((SOURCE + "\nbad = 1").replace("\n", "\r\n"))


SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        (f'[database]\ndsn = "mysql://u:{SECRET}@h"', {}),
        (f'[database]\ndsn = ["{SECRET}"]', {}),
        (f"[database]\ndsn = {SECRET}", {}),
        (f'[database]\ndsn = "{SECRET}', {}),
        (SOURCE + f'password = "{SECRET}"\npassword_file = "x"', {}),
        (SOURCE + f'pasword = "{SECRET}"', {}),
        (SOURCE + f'token = {{a = "{SECRET}"}}', {}),
        (SOURCE.replace("https://", f"https://u:{SECRET}@"), {}),
        (SOURCE.replace("https://", f"postgresql://u:{SECRET}@"), {}),
        (SOURCE.replace(".example", f".example:x?key={SECRET}"), {}),
        (f'listen = "u:{SECRET}@h"', {}),
        ("", {"CONFTRACK_DATABASE_DSN": SECRET}),
        ("", {"CONFTRACK_DATABASE_PASSWORD": SECRET}),
        (SOURCE, {"CONFTRACK_SOURCES_HALL_PASSWORD": SECRET, "CONFTRACK_SOURCES_HALL_PASSWORD_FILE": "x"}),
    ],
)
def test_no_error_shows_a_secret(refusal: Refusal, text: str, environ: dict[str, str]) -> None:
    """Errors end in logs and tickets."""
    assert SECRET not in refusal(text, **environ)


def test_a_secret_is_hidden_wherever_the_configuration_is_shown(loaded: Load) -> None:
    """repr, str and format of the configuration can be logged."""
    config = loaded(f'[database]\ndsn = "postgres://u:{SECRET}@h"' + SOURCE + f'password = "{SECRET}"')

    assert SECRET not in f"{config!r} {config} {config.database.dsn}"
    assert config.sources[0].password is not None
    assert config.sources[0].password.reveal() == SECRET


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever is in the file, there is a configuration or a ConfigError, never a traceback."""
    path = write(tmp_path_factory.getbasetemp(), text)
    with suppress(ConfigError):
        load(path, {}, KINDS)


def keys_of(struct: type[msgspec.Struct]) -> set[str]:
    """The keys that a struct promises, read off it independently of the loader."""
    secrets = {field.name for field in msgspec.structs.fields(struct) if "Secret" in str(field.type)}
    return {*struct.__struct_fields__, *(f"{name}_file" for name in secrets)}


def test_the_example_shows_every_key_and_no_other() -> None:
    """The example is the reference: a new field must be explained there."""
    everything = tomllib.loads(re.sub(r"^#(?=[a-z_]+ = |\[\[)", "", example(), flags=re.MULTILINE))
    (source,), (user,) = everything["sources"], everything["web"]["users"]

    assert set(everything) == keys_of(Config) - {"warnings"}
    assert set(everything["database"]) == keys_of(DatabaseConfig)
    assert set(everything["web"]) == {"listen", "https", "users"}
    assert set(user) == keys_of(WebUser)
    assert set(source) == keys_of(SourceConfig) - {"options"}


def test_the_example_works_and_shows_the_defaults(tmp_path: Path, loaded: Load) -> None:
    """What stands behind # is what conftrack does without it."""
    (tmp_path / "pw").write_text("pw")
    text = example().replace("/run/secrets/pexip", "pw").replace('"pexip"', '"plain"')
    defaults = re.sub(r"^#(?=(timezone|listen|\w+_interval|overlap|timeout) = )", "", text, flags=re.MULTILINE)

    assert text != defaults
    assert loaded(text) == loaded(defaults)


def test_what_is_kept_of_people_is_configured(loaded: Load, refusal: Refusal) -> None:
    """A tier of three, patterns that are not empty, and spans long enough for what needs them."""
    given = loaded('[privacy]\nnames = "keep"\nkeep_names_for = "30d"\nsensitive = ["*mật*"]\n').privacy
    assert (given.names, given.keep_names_for, given.sensitive) == ("keep", timedelta(days=30), ("*mật*",))
    assert loaded(CONFTRACK_PRIVACY_SENSITIVE="*mật*, kín").privacy.sensitive == ("*mật*", "kín")

    assert 'one of "drop", "pseudonym", "keep", not "hide"' in refusal('[privacy]\nnames = "hide"')
    assert "`sensitive` in [privacy]" in refusal('[privacy]\nsensitive = [""]')
    assert "at least 62d" in refusal('[privacy]\nkeep_runs_for = "30d"')
    assert "at least 1d" in refusal('[privacy]\nkeep_names_for = "0s"')
