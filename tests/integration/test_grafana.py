"""`conftrack grafana sync` and `export` against a strict Grafana over real HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from msgspec.structs import replace

from conftrack.config import AlertsConfig, GrafanaConfig, Secret, load
from conftrack.errors import ConfigError, ConftrackError
from conftrack.grafana import dashboards, export
from conftrack.grafana.content import shipped
from conftrack.inventory.asking import consent
from tests.grafana_server import FakeGrafana
from tests.grafana_synced import LIVE, PASSWORD, USAGE, Synced, lay_out, write_boards
from tests.service_process import conftrack

EVERYTHING = [
    "POST /folders",
    "POST /datasources",
    "POST /datasources",
    "POST /dashboards/db",
    "POST /dashboards/db",
]


@pytest.fixture
def content(tmp_path: Path) -> Path:
    return lay_out(tmp_path / "content")


@pytest.fixture
async def grafana() -> AsyncIterator[FakeGrafana]:
    async with FakeGrafana() as running:
        yield running


@pytest.fixture
def synced(grafana: FakeGrafana, content: Path, capsys: pytest.CaptureFixture[str]) -> Synced:
    return Synced(grafana, content, capsys)


# -- what is made


async def test_an_empty_grafana_gets_everything(synced: Synced, grafana: FakeGrafana) -> None:
    """Folder, both data sources with addresses and password, dashboards in the folder; the history says by what."""
    code, output = await synced.run()

    assert code == 0
    assert grafana.writes == EVERYTHING
    assert grafana.folders["conftrack"]["title"] == "conftrack"
    prometheus, postgres = grafana.sources["conftrack-prometheus"], grafana.sources["conftrack-postgres"]
    assert (prometheus["type"], prometheus["url"]) == ("prometheus", "http://prometheus.example:9090")
    assert (postgres["url"], postgres["user"]) == ("db.example:5432", "conftrack_reader")
    assert postgres["jsonData"]["database"] == "conftrack"
    assert postgres["jsonData"]["sslmode"] == "require"
    assert postgres["secureJsonData"] == {"password": PASSWORD}
    assert prometheus["secureJsonData"] == {}
    live = grafana.dashboards["conftrack-live"]
    assert live["meta"]["folderUid"] == "conftrack"
    assert live["dashboard"]["panels"] == LIVE["panels"]
    assert live["dashboard"]["tags"] == ["conftrack", "live", "conftrack-sync"]
    assert all(message.startswith("conftrack ") for message in grafana.messages)
    assert "+ dashboard conftrack-live 'Trực tuyến / Live'" in output
    assert "    url: db.example:5432\n    user: conftrack_reader\n" in output
    assert "Grafana 11.6.0 at" in output


async def test_again_writes_nothing(synced: Synced, grafana: FakeGrafana) -> None:
    """A second run makes no request that could change anything."""
    await synced.run()
    before = grafana.state()

    code, output = await synced.run()

    assert (code, grafana.writes) == (0, [])
    assert grafana.state() == before
    assert "Nothing to do" in output


async def test_a_default_that_is_there_stays_the_default(synced: Synced, grafana: FakeGrafana) -> None:
    """Making data sources, and changing one that somebody made the default, leaves the default alone."""
    grafana.add_source(uid="theirs", name="Prometheus", type="prometheus", isDefault=True)
    await synced.run()
    assert [uid for uid, one in grafana.sources.items() if one["isDefault"]] == ["theirs"]

    grafana.sources["theirs"]["isDefault"] = False
    grafana.sources["conftrack-prometheus"]["isDefault"] = True
    synced.config = replace(synced.config, prometheus_url="http://other.example:9090")
    await synced.run()

    assert grafana.sources["conftrack-prometheus"]["isDefault"]


@pytest.mark.parametrize("dry_run", [True, False])
async def test_without_a_yes_nothing_is_written(synced: Synced, grafana: FakeGrafana, dry_run: bool) -> None:
    """A dry run, and a run that cannot ask, show the difference and write nothing; only the dry run is a success."""
    code, output = await synced.run(dry_run=dry_run, asked=None if not dry_run else consent(given=True))

    assert code == (0 if dry_run else 1)
    assert grafana.writes == []
    assert "+ data source conftrack-postgres" in output
    assert "Nothing was changed" in output
    assert not dry_run or "5 changes to make" in output


async def test_a_no_changes_nothing(synced: Synced, grafana: FakeGrafana) -> None:
    """Whoever is asked may decline, having seen the difference and the number of changes."""
    questions = []

    async def no(question: str) -> bool:
        questions.append(question)
        return False

    code, output = await synced.run(asked=no)

    assert (code, grafana.writes, questions) == (1, [], ["Make 5 changes?"])
    assert "Nothing was changed." in output


# -- change and drift


async def test_a_new_version_of_a_dashboard_replaces_the_old(synced: Synced, grafana: FakeGrafana) -> None:
    """Only what changed is written, as the next version of the same dashboard, and each difference has its line."""
    await synced.run()
    number = grafana.dashboards["conftrack-live"]["dashboard"]["id"]
    newer = json.loads(json.dumps(LIVE))
    newer["panels"][0]["targets"][0]["expr"] = "sum by (source) (conftrack_meetings_live)"
    newer["panels"].insert(0, {"id": 3, "title": "People now", "type": "stat"})
    write_boards(synced.content, newer, USAGE)

    code, output = await synced.run()

    assert (code, grafana.writes) == (0, ["POST /dashboards/db"])
    held = grafana.dashboards["conftrack-live"]
    assert held["dashboard"]["panels"] == newer["panels"]
    assert (held["dashboard"]["id"], held["meta"]["version"]) == (number, 2)
    assert (
        'panels["Meetings now"].targets[0].expr: "sum(conftrack_meetings_live)" → '
        '"sum by (source) (conftrack_meetings_live)"' in output
    )
    assert 'panels["People now"]: "People now" is new' in output
    assert (await synced.run())[1].endswith("Nothing to do: Grafana has everything as it should be.\n")


async def test_what_somebody_edited_by_hand_is_shown_and_put_back(synced: Synced, grafana: FakeGrafana) -> None:
    """The difference says what was edited, by whom and when, in local time; it is lost only to a yes."""
    await synced.run()
    grafana.edit("conftrack-usage", "lan.tran", title="Mine now")
    grafana.dashboards["conftrack-usage"]["meta"]["folderUid"] = ""

    code, output = await synced.run(dry_run=True)
    assert (code, grafana.writes) == (0, [])
    assert "last saved by lan.tran on 2026-11-24 23:02, version 2" in output
    assert 'title: "Mine now" → "Sử dụng / Usage"' in output
    assert 'folder: "conftrack" is new' in output

    await synced.run()
    assert grafana.dashboards["conftrack-usage"]["dashboard"]["title"] == "Sử dụng / Usage"
    assert grafana.dashboards["conftrack-usage"]["meta"]["folderUid"] == "conftrack"


async def test_settings_of_a_data_source_beyond_ours_are_kept(synced: Synced, grafana: FakeGrafana) -> None:
    """What somebody added to reach Prometheus stays, also when an address changes; what is ours is put back."""
    await synced.run()
    held = grafana.sources["conftrack-prometheus"]
    held["jsonData"] |= {"tlsAuthWithCACert": True, "httpMethod": "GET"}
    held["secureJsonData"]["tlsCACert"] = "pem"
    held |= {"basicAuth": True, "basicAuthUser": "reader"}

    code, output = await synced.run()

    assert (code, grafana.writes) == (0, ["PUT /datasources/uid/conftrack-prometheus"])
    assert 'jsonData.httpMethod: "GET" → "POST"' in output
    held = grafana.sources["conftrack-prometheus"]
    assert held["jsonData"]["tlsAuthWithCACert"] is True
    assert held["jsonData"]["httpMethod"] == "POST"
    assert (held["secureJsonData"], held["basicAuth"], held["basicAuthUser"]) == ({"tlsCACert": "pem"}, True, "reader")


async def test_another_password_is_set(synced: Synced, grafana: FakeGrafana) -> None:
    """Grafana never gives a password back; a changed one is seen and set all the same, once."""
    await synced.run()
    synced.config = replace(synced.config, postgres_password=Secret("another one"))

    code, output = await synced.run()

    assert (code, grafana.writes) == (0, ["PUT /datasources/uid/conftrack-postgres"])
    assert grafana.sources["conftrack-postgres"]["secureJsonData"] == {"password": "another one"}
    assert "password: is not known to be the configured one" in output
    await synced.run()
    assert grafana.writes == []


async def test_a_lost_password_is_set_again(synced: Synced, grafana: FakeGrafana) -> None:
    """A data source whose password somebody took away gets it back."""
    await synced.run()
    grafana.sources["conftrack-postgres"]["secureJsonData"].clear()

    await synced.run()

    assert grafana.sources["conftrack-postgres"]["secureJsonData"] == {"password": PASSWORD}


async def test_the_folder_is_renamed_as_configured(synced: Synced, grafana: FakeGrafana) -> None:
    """Another title of the configuration renames the folder; the dashboards stay in it."""
    await synced.run()
    synced.config = replace(synced.config, folder="Hội nghị truyền hình")

    code, output = await synced.run()

    assert (code, grafana.writes) == (0, ["PUT /folders/conftrack"])
    assert grafana.folders["conftrack"]["title"] == "Hội nghị truyền hình"
    assert 'title: "conftrack" → "Hội nghị truyền hình"' in output


# -- what is somebody else's


async def test_what_others_made_is_refused_and_nothing_is_written(synced: Synced, grafana: FakeGrafana) -> None:
    """A uid or name that is taken stops all of it, before the first write; every obstacle is told at once."""
    grafana.folders["conftrack"] = {"uid": "conftrack", "title": "Của tôi", "version": 1}
    grafana.add_source(uid="conftrack-postgres", name="a database", type="mysql")
    grafana.add_source(uid="abc", name="conftrack (Prometheus)", type="prometheus")
    grafana.add_dashboard(LIVE, folder="", by="lan.tran")
    before = grafana.state()

    refusal = await synced.refused(prune=True)

    assert grafana.writes == []
    assert grafana.state() == before
    assert "folder conftrack is called 'Của tôi' and holds nothing that conftrack made" in refusal
    assert "data source conftrack-postgres 'conftrack (Postgres)' is there, and conftrack did not make it" in refusal
    assert "data source abc is called 'conftrack (Prometheus)'" in refusal
    assert "put the tag conftrack-sync on it to hand it over" in refusal


async def test_a_dashboard_is_handed_over_by_its_tag(synced: Synced, grafana: FakeGrafana) -> None:
    """Who puts the tag on a dashboard of our uid lets sync have it; who takes it off has it back."""
    grafana.add_dashboard(LIVE | {"tags": ["conftrack-sync"]}, folder="", by="lan.tran")
    assert (await synced.run())[0] == 0

    grafana.edit("conftrack-live", "lan.tran", tags=[])
    assert "conftrack did not make it" in await synced.refused()


async def test_what_a_file_provisions_is_refused(synced: Synced, grafana: FakeGrafana) -> None:
    """A Grafana that reads these from files, as that of the compose stack, is told apart before anything is written."""
    await synced.run()
    grafana.dashboards["conftrack-live"]["meta"]["provisioned"] = True
    grafana.sources["conftrack-postgres"]["readOnly"] = True

    refusal = await synced.refused()

    assert grafana.writes == []
    assert refusal.count("comes from a file of that Grafana's own provisioning") == 2


async def test_prune_deletes_only_its_own(synced: Synced, grafana: FakeGrafana) -> None:
    """What sync made and this version does not bring goes with --prune; copies, strangers and the folder stay."""
    await synced.run()
    copied = LIVE | {"uid": "aBcD123", "title": "a copy", "tags": ["conftrack-sync"]}
    strange = LIVE | {"uid": "conftrack-theirs", "title": "of others", "tags": ["conftrack"]}
    for board in (copied, strange):
        grafana.add_dashboard(board, folder="conftrack", by="lan.tran")
    grafana.add_source(uid="conftrack-theirs-too", name="of others", type="prometheus")
    grafana.add_source(uid="copied", name="a copy", type="prometheus", jsonData={"conftrack": {"version": "0"}})
    grafana.add_source(uid="conftrack-old", name="old", type="prometheus", jsonData={"conftrack": {"version": "0"}})
    write_boards(synced.content, LIVE)

    code, output = await synced.run()
    assert (code, grafana.writes) == (0, [])
    assert "Left: dashboard conftrack-usage" in output
    assert "Left: data source conftrack-old 'old'" in output

    code, output = await synced.run(prune=True, dry_run=True)
    assert (code, grafana.writes) == (0, [])

    code, output = await synced.run(prune=True)
    assert code == 0
    assert grafana.writes == ["DELETE /dashboards/uid/conftrack-usage", "DELETE /datasources/uid/conftrack-old"]
    assert grafana.dashboards.keys() == {"conftrack-live", "aBcD123", "conftrack-theirs"}
    assert grafana.sources.keys() == {
        "conftrack-prometheus",
        "conftrack-postgres",
        "conftrack-theirs-too",
        "copied",
    }
    assert grafana.folders.keys() == {"conftrack"}
    assert "- dashboard conftrack-usage" in output


async def test_a_run_touches_nothing_that_is_not_its_own(synced: Synced, grafana: FakeGrafana) -> None:
    """Folders, dashboards and data sources of others are the same, byte for byte, after every kind of run."""
    grafana.folders["theirs"] = {"uid": "theirs", "title": "conftrack", "version": 3}
    grafana.add_source(uid="theirs", name="Prometheus", type="prometheus", secureJsonData={"password": "x"})
    grafana.add_dashboard(USAGE | {"uid": "theirs"}, folder="theirs", by="lan.tran")
    before = grafana.state()

    await synced.run(prune=True)
    write_boards(synced.content)
    await synced.run(prune=True)

    after = grafana.state()
    for kind, held in before.items():
        assert {uid: after[kind][uid] for uid in held} == held


# -- conflicts and failures in the middle


async def test_a_dashboard_saved_meanwhile_is_not_overwritten(synced: Synced, grafana: FakeGrafana) -> None:
    """412: it is told by whom and when it was saved, the edit stays, and the next run shows it."""
    await synced.run()
    write_boards(synced.content, LIVE | {"title": "Newer"}, USAGE)
    grafana.before("POST /dashboards/db", lambda: grafana.edit("conftrack-live", "lan.tran", title="Mine"))

    refusal = await synced.refused()

    assert "dashboard conftrack-live 'Newer' was changed while this was running" in refusal
    assert "last saved by lan.tran on 2026-11-24 23:02, version 2" in refusal
    assert "Run this again" in refusal
    assert grafana.dashboards["conftrack-live"]["dashboard"]["title"] == "Mine"
    assert 'title: "Mine" → "Newer"' in (await synced.run())[1]


async def test_a_dashboard_made_meanwhile_is_not_overwritten(synced: Synced, grafana: FakeGrafana) -> None:
    """412 on what was not there when the difference was made."""
    grafana.before("POST /dashboards/db", lambda: grafana.add_dashboard(LIVE, folder="", by="lan.tran"))

    assert "was changed while this was running (last saved by lan.tran" in await synced.refused()
    assert grafana.dashboards["conftrack-live"]["meta"]["folderUid"] == ""


async def test_a_dashboard_of_a_plugin_is_told_as_such(synced: Synced, grafana: FakeGrafana) -> None:
    """412 for another reason than an edit is not called one."""
    grafana.add_dashboard(LIVE | {"tags": ["conftrack-sync"], "__plugin": True}, folder="", by="admin")

    refusal = await synced.refused()

    assert "412: The dashboard belongs to plugin Clock." in refusal
    assert "changed while" not in refusal


async def test_a_data_source_changed_meanwhile_is_not_overwritten(synced: Synced, grafana: FakeGrafana) -> None:
    """409 of Grafana is told as the conflict that it is."""
    await synced.run()
    synced.config = replace(synced.config, prometheus_url="http://other.example:9090")
    held = grafana.sources["conftrack-prometheus"]
    grafana.before("PUT .*", lambda: held.update(version=5, url="http://mine.example"))

    refusal = await synced.refused()

    assert "data source conftrack-prometheus 'conftrack (Prometheus)' was changed while this was running" in refusal
    assert grafana.sources["conftrack-prometheus"]["url"] == "http://mine.example"


async def test_a_folder_renamed_meanwhile_is_left(synced: Synced, grafana: FakeGrafana) -> None:
    """412 of a folder."""
    await synced.run()
    synced.config = replace(synced.config, folder="Other")
    grafana.before("PUT /folders/.*", lambda: grafana.folders["conftrack"].update(version=9, title="Mine"))

    assert "folder conftrack 'Other' was changed while this was running" in await synced.refused()
    assert grafana.folders["conftrack"]["title"] == "Mine"


async def test_what_was_edited_meanwhile_is_not_deleted(synced: Synced, grafana: FakeGrafana) -> None:
    """A deletion that was agreed to is not made of something else than was shown."""
    await synced.run()
    grafana.add_source(uid="conftrack-old", name="old", type="prometheus", jsonData={"conftrack": {"version": "0"}})
    write_boards(synced.content, LIVE)

    async def yes_to_dashboard(question: str) -> bool:
        grafana.edit("conftrack-usage", "lan.tran", title="Mine")
        return True

    async def yes_to_data_source(question: str) -> bool:
        grafana.sources["conftrack-old"]["version"] += 1
        return True

    with pytest.raises(ConftrackError, match=r"changed while this was running .last saved by lan.tran"):
        await synced.run(prune=True, asked=yes_to_dashboard)
    assert "conftrack-usage" in grafana.dashboards
    with pytest.raises(ConftrackError, match=r"'old' was changed while this was running"):
        await synced.run(prune=True, asked=yes_to_data_source)
    assert "conftrack-old" in grafana.sources


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("number", range(5))
async def test_after_a_failure_in_the_middle_a_repeat_does_the_rest(
    synced: Synced, grafana: FakeGrafana, number: int, done: bool
) -> None:
    """Whichever write fails, whether or not Grafana did it all the same, a repeat ends where an unbroken run does."""
    grafana.fail(number, done=done)

    refusal = await synced.refused()

    assert "(500: database is locked): run this again when it works" in refusal
    assert synced.output.count("Done: ") == number
    stands = grafana.state()
    assert sum(map(len, stands.values())) == number + done

    assert (await synced.run())[0] == 0
    assert grafana.writes == EVERYTHING[number + done :]
    assert grafana.sources.keys() == {"conftrack-prometheus", "conftrack-postgres"}
    assert {uid: held["meta"]["version"] for uid, held in grafana.dashboards.items()} == {
        "conftrack-live": 1,
        "conftrack-usage": 1,
    }


# -- what goes wrong, in words


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("glsa_gone", "does not accept the token (401: Invalid API key): it has expired, was deleted"),
        ("glsa_viewer", "does not allow it (403: You'll need additional permissions"),
    ],
)
async def test_a_token_that_does_not_do(synced: Synced, grafana: FakeGrafana, token: str, says: str) -> None:
    """401 and 403 say what is wrong with the token and what to do, and do not show it."""
    synced.config = replace(synced.config, token=Secret(token))

    refusal = await synced.refused()

    assert says in refusal
    assert token not in refusal
    assert grafana.state() == {"folders": {}, "dashboards": {}, "sources": {}}


async def test_an_editor_gets_as_far_as_data_sources(synced: Synced, grafana: FakeGrafana) -> None:
    """A service account that lacks the role Admin is told that it needs it."""
    synced.config = replace(synced.config, token=Secret("glsa_editor"))

    refusal = await synced.refused()

    assert "creating data source conftrack-prometheus" in refusal
    assert "the role Admin" in refusal


@pytest.mark.parametrize(
    ("request_", "response", "says"),
    [
        (
            "GET /health",
            web.json_response({"message": "no"}, status=404),
            "is not Grafana: correct `url` in [grafana]",
        ),
        ("GET /health", web.json_response({"status": "UP"}), "is not Grafana: correct `url` in [grafana]"),
        (
            "GET /folders/conftrack",
            web.Response(text="<h1>not found</h1>", content_type="text/html", status=404),
            "answers 404 with text/html; charset=utf-8, not with JSON",
        ),
        (
            "GET /datasources",
            web.Response(text="<form>message: log in</form>", content_type="text/html"),
            "is there a log-in page or a proxy in front of it?",
        ),
        (
            "GET /search",
            web.Response(text="<h1>Bad message gateway</h1>", content_type="text/html", status=502),
            "failed (502: text/html; charset=utf-8): run this again when it works",
        ),
        ("GET /datasources", web.json_response({"message": "database is locked"}, status=500), "database is locked"),
        ("GET /datasources", web.json_response([1], status=503), "failed (503: no reason)"),
        ("GET /datasources", web.json_response([{"name": 3}]), "answers in an unknown way"),
        (
            "GET /datasources",
            web.json_response({"message": "token glsa_admin is odd \x1b[2J"}, status=400),
            "token … is",
        ),
        (
            "GET /datasources",
            web.Response(status=302, headers={"location": "https://login.example/?next=secret"}),
            "leads on to https://login.example/: put the final address into `url`",
        ),
        (
            "POST /dashboards/db",
            web.json_response({"message": "Dashboard not found"}, status=404),
            "does not have it any more (404: Dashboard not found): run this again",
        ),
    ],
)
async def test_every_bad_answer_is_told_in_a_sentence(
    synced: Synced, grafana: FakeGrafana, request_: str, response: web.Response, says: str
) -> None:
    """What answers instead of Grafana, or how it fails, is said with what to do about it; no secret is in it."""
    grafana.break_(request_, response)

    refusal = await synced.refused()

    assert says in refusal
    assert "glsa_admin" not in refusal + synced.output
    assert "\x1b" not in refusal


async def test_a_grafana_that_is_not_there(synced: Synced) -> None:
    """Nobody listens: the address is told, and why."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        synced.config = replace(synced.config, url=f"http://127.0.0.1:{taken.getsockname()[1]}")

        refusal = await synced.refused()

    assert "cannot be reached (Connection refused)" in refusal


async def test_only_the_configuration_says_where_requests_go(synced: Synced, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment, which would see the token, is not used."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    assert (await synced.run())[0] == 0


async def test_the_certificate_is_verified(
    content: Path, certificate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A certificate of an unknown authority gets no token; with its authority in `ca_file` all is well."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with FakeGrafana(tls=context) as grafana:
        synced = Synced(grafana, content, capsys)

        refusal = await synced.refused()
        assert "is not to be trusted (self-signed certificate)" in refusal.replace("self signed", "self-signed")
        assert "`ca_file`" in refusal

        synced.config = replace(synced.config, ca_file=certificate)
        assert (await synced.run())[0] == 0


async def test_a_data_source_that_does_not_work_is_told(synced: Synced, grafana: FakeGrafana) -> None:
    """Grafana tries both data sources at the end, also when there was nothing to do: boards must not open blank."""
    grafana.unhealthy["conftrack-postgres"] = "password authentication failed for user conftrack_reader"

    code, output = await synced.run()

    assert code == 1
    assert len(grafana.dashboards) == 2
    assert "Grafana has data source conftrack-postgres, but cannot read from it" in output
    assert "password authentication failed" in output
    assert (await synced.run())[0] == 1


async def test_secrets_are_shown_nowhere(synced: Synced, grafana: FakeGrafana) -> None:
    """Neither the token nor the password is in any output, nor can anybody read the password in Grafana."""
    await synced.run()
    made = synced.output
    synced.config = replace(synced.config, postgres_password=Secret("another one"))
    await synced.run()

    assert not any(secret in made + synced.output for secret in ("glsa_admin", PASSWORD, "another one"))
    readable = json.dumps([one["jsonData"] for one in grafana.sources.values()])
    assert PASSWORD not in readable
    assert "another one" not in readable


@pytest.mark.parametrize("key", ["url", "token", "postgres_password"])
async def test_a_missing_key_is_named(synced: Synced, key: str) -> None:
    """Without an address, a token or a password there is nothing to sync with: bad configuration, not a failure."""
    synced.config = replace(synced.config, **{key: None})

    with pytest.raises(ConfigError, match=rf"grafana sync needs `{key}` in \[grafana\]"):
        await synced.run()


# -- the command, and files


async def test_the_command_as_it_is_typed(grafana: FakeGrafana, tmp_path: Path) -> None:
    """The shipped dashboards, by the real program and its configuration: dry run, sync, repeat, and a bad token."""
    config = tmp_path / "conftrack.toml"
    (tmp_path / "token").write_text("glsa_admin\n")
    config.write_text(f'[grafana]\nurl = "{grafana.url}"\ntoken_file = "token"\npostgres_password = "{PASSWORD}"\n')

    dry = await asyncio.to_thread(conftrack, config, "grafana", "sync", "--dry-run")
    assert (dry.returncode, grafana.writes) == (0, []), dry.stderr
    assert (await asyncio.to_thread(conftrack, config, "grafana", "sync")).returncode == 1
    done = await asyncio.to_thread(conftrack, config, "grafana", "sync", "--yes")
    assert done.returncode == 0, done.stderr
    assert grafana.dashboards.keys() == {board["uid"] for board in dashboards(shipped(), "http://x")}
    again = await asyncio.to_thread(conftrack, config, "grafana", "sync", "--yes", "--prune")
    assert "Nothing to do" in again.stdout

    (tmp_path / "token").write_text("glsa_gone\n")
    failed = await asyncio.to_thread(conftrack, config, "grafana", "sync", "--yes")
    assert failed.returncode == 1
    assert failed.stderr.startswith("conftrack: ")
    assert "Traceback" not in failed.stderr


def test_export_writes_what_a_grafana_imports_and_what_it_reads(content: Path, tmp_path: Path) -> None:
    """For the page Import every data source is asked for; for provisioning the addresses are the configured ones."""
    out = tmp_path / "out"
    config = GrafanaConfig(
        folder="Hội nghị",
        prometheus_url="http://prometheus.example:9090",
        postgres_url="postgresql://db.example/conftrack?sslmode=verify-full",
        postgres_password=Secret(PASSWORD),
    )

    written = export(content, out, config, "https://conftrack.example/", force=False)

    assert sorted(str(path.relative_to(out)) for path in written) == [
        "dashboards/conftrack-live.json",
        "dashboards/conftrack-usage.json",
        "import/conftrack-live.json",
        "import/conftrack-usage.json",
        "provisioning/dashboards/conftrack.yml",
        "provisioning/datasources/conftrack.yml",
    ]
    live = json.loads((out / "import/conftrack-live.json").read_text())
    assert live["__inputs"] == [
        {
            "name": "DS_CONFTRACK_PROMETHEUS",
            "label": "conftrack (Prometheus)",
            "type": "datasource",
            "pluginId": "prometheus",
        }
    ]
    assert live["panels"][0]["datasource"]["uid"] == "${DS_CONFTRACK_PROMETHEUS}"
    assert live["panels"][1] == LIVE["panels"][1]
    assert json.loads((out / "import/conftrack-usage.json").read_text())["__inputs"] == []
    read = json.loads((out / "dashboards/conftrack-live.json").read_text())
    assert read == {key: value for key, value in LIVE.items() if key not in ("id", "version")}
    sources = {
        one["uid"]: one
        for one in yaml.safe_load((out / "provisioning/datasources/conftrack.yml").read_text())["datasources"]
    }
    assert sources["conftrack-prometheus"]["url"] == "http://prometheus.example:9090"
    assert sources["conftrack-postgres"]["jsonData"]["sslmode"] == "verify-full"
    assert sources["conftrack-postgres"]["secureJsonData"] == {"password": "$READER_PASSWORD"}
    provider = yaml.safe_load((out / "provisioning/dashboards/conftrack.yml").read_text())["providers"][0]
    assert (provider["folder"], provider["folderUid"]) == ("Hội nghị", "conftrack")
    assert all(PASSWORD not in path.read_text() for path in written)


def linked(board: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Where a dashboard says that conftrack's pages are."""
    return [
        (one["query"], one["current"]["text"], one["current"]["value"])
        for one in board["templating"]["list"]
        if one["name"] == "conftrack_url"
    ]


async def test_boards_lead_to_the_pages_where_they_are(
    grafana: FakeGrafana, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The links of every shipped dashboard go to `page_url`, synced and exported alike."""
    synced, expected = Synced(grafana, shipped(), capsys), ("https://hop.example/ct",) * 3
    synced.alerts = AlertsConfig(page_url="https://hop.example/ct/")
    written = export(shipped(), tmp_path, synced.config, synced.alerts.page_url, force=False)

    await synced.run()

    exported = [json.loads(path.read_text()) for path in written if path.suffix == ".json"]
    assert len(exported) == 2 * len(grafana.dashboards)
    for board in [*exported, *(held["dashboard"] for held in grafana.dashboards.values())]:
        assert linked(board) == [expected]


def test_no_other_command_waits_for_its_http_library() -> None:
    """What speaks with Grafana is slow to load, and most commands do not."""
    program = "import sys, conftrack.cli; sys.exit('grafana_api' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_export_writes_over_nothing_unless_told(content: Path, tmp_path: Path) -> None:
    """One file that is there stops all of it; --force writes over it."""
    kept = tmp_path / "import/conftrack-live.json"
    kept.parent.mkdir()
    kept.write_text("mine")

    with pytest.raises(ConftrackError, match=r"import/conftrack-live\.json: there already"):
        export(content, tmp_path, GrafanaConfig(), "http://x", force=False)
    assert kept.read_text() == "mine"
    assert not (tmp_path / "dashboards").exists()

    export(content, tmp_path, GrafanaConfig(), "http://x", force=True)
    assert json.loads(kept.read_text())["uid"] == "conftrack-live"


def test_a_dashboard_whose_uid_is_not_its_file_is_refused(content: Path) -> None:
    """Links lead to uids: a file under another name would break them unseen."""
    (content / "conftrack-odd.json").write_text(json.dumps(LIVE))

    with pytest.raises(
        ConftrackError, match=r"conftrack-odd\.json: must hold a dashboard whose uid is the file's name"
    ):
        dashboards(content, "http://x")


def test_the_configuration_of_grafana(tmp_path: Path) -> None:
    """Every mistake in [grafana] is told with its line; a token that could be shown by an error is refused unseen."""
    path = tmp_path / "conftrack.toml"
    path.write_text(
        '[grafana]\nurl = "grafana.example"\ntoken = "glsa x"\nca_file = "gone.pem"\nfolder = ""\n'
        'postgres_url = "postgresql://admin:pw@db/conftrack"\nfoldr = "x"\n'
    )

    with pytest.raises(ConfigError) as caught:
        load(path, {}, {})

    lines = str(caught.value).replace(f"{tmp_path}/", "").splitlines()
    assert [line.split(" must be ")[0] for line in lines[:5]] == [
        f"`{key}` in [grafana] (conftrack.toml:{number})"
        for number, key in enumerate(("url", "token", "ca_file", "folder", "postgres_url"), 2)
    ]
    assert "an address without a user name: it is read as conftrack_reader" in lines[4]
    assert lines[5] == "unknown key `foldr` in [grafana] (conftrack.toml:7); did you mean `folder`?"
    assert "glsa" not in str(caught.value)
    assert ":pw@" not in str(caught.value)

    path.write_text('[grafana]\nurl = "http://grafana.example"\n')
    (warning,) = load(path, {"CONFTRACK_GRAFANA_TOKEN": "glsa_x"}, {}).warnings
    assert "`url` in [grafana]" in warning


@pytest.mark.parametrize(
    "address",
    [
        "mysql://db/x",
        "postgresql://db",
        "postgresql://db/a/b",
        "postgresql://db/x?sslmode=off",
        "postgresql://db/x?a=b",
    ],
)
def test_a_database_address_that_grafana_cannot_use_is_refused(tmp_path: Path, address: str) -> None:
    """Only what a data source can hold is taken, so that nothing of it is silently dropped."""
    path = tmp_path / "conftrack.toml"
    path.write_text(f'[grafana]\npostgres_url = "{address}"\n')

    with pytest.raises(ConfigError, match=r"must be postgresql://HOST:PORT/DATABASE"):
        load(path, {}, {})
