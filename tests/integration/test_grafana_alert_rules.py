"""`conftrack grafana sync --alert-rules` against a strict Grafana over real HTTP."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from msgspec.structs import replace

from conftrack.alerts import grafana_groups
from conftrack.alerts.rules import groups
from conftrack.config import AlertsConfig, Config, Secret
from conftrack.errors import ConftrackError
from tests.grafana_alerting import AlertingGrafana
from tests.grafana_server import FakeGrafana, Json
from tests.grafana_synced import Synced, lay_out

DROPPED, OUTAGE, STILL = "conftrack-endpointdropped", "conftrack-outage", "conftrack-cursorstill"
RULE = "/v1/provisioning/alert-rules"
UIDS = [
    f"conftrack-{alert.name.lower()}" for group in groups(AlertsConfig(), Config().timezone) for alert in group.alerts
]
EVERYTHING = [
    *(f"POST {RULE}" for _ in UIDS),
    "PUT /v1/provisioning/folder/conftrack/rule-groups/conftrack incidents",
    "PUT /v1/provisioning/folder/conftrack/rule-groups/conftrack",
]


@pytest.fixture
async def grafana() -> AsyncIterator[AlertingGrafana]:
    async with AlertingGrafana() as running:
        yield running


@pytest.fixture
async def synced(grafana: AlertingGrafana, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Synced:
    """Dashboards and data sources are there, alert rules are not."""
    synced = Synced(grafana, lay_out(tmp_path / "content"), capsys)
    await synced.run()
    return synced


def theirs(**fields: object) -> Json:
    return {"uid": "theirs", "title": "Disk full", "folderUID": "conftrack", "ruleGroup": "conftrack"} | fields


# -- what is made


async def test_every_alert_becomes_a_rule(synced: Synced, grafana: AlertingGrafana) -> None:
    """All alerts, in the folder of the dashboards, asked of its Prometheus, editable, in groups of whole beats."""
    code, output = await synced.run(alert_rules=True)

    assert (code, grafana.writes) == (0, EVERYTHING)
    assert list(grafana.rules) == UIDS
    for rule in grafana.rules.values():
        assert rule["folderUID"] == "conftrack"
        assert "provenance" not in rule
        assert [step["datasourceUid"] for step in rule["data"]] == ["conftrack-prometheus", "__expr__"]
        assert rule["annotations"]["__conftrack_sync__"] == "true"
    assert grafana.intervals == {("conftrack", "conftrack incidents"): 10, ("conftrack", "conftrack"): 20}
    assert f"+ alert rule {DROPPED} 'ConftrackEndpointDropped'" in output


async def test_again_writes_nothing(synced: Synced, grafana: AlertingGrafana) -> None:
    """Grafana writes durations its own way and adds to every query; neither is taken for a difference."""
    synced.alerts = AlertsConfig(connect_failed_for=timedelta(seconds=90), missing_records_for=timedelta(days=7))
    await synced.run(alert_rules=True)
    before = grafana.state()
    assert grafana.rules["conftrack-endpointconnectfailed"]["for"] == "1m30s"

    code, output = await synced.run(alert_rules=True, prune=True)

    assert (code, grafana.writes) == (0, [])
    assert grafana.state() == before
    assert "Nothing to do" in output


async def test_an_older_grafana_is_not_written_to_for_ever(synced: Synced, grafana: AlertingGrafana) -> None:
    """Settings that it does not know are not a difference."""
    grafana.before_12 = True
    await synced.run(alert_rules=True)

    await synced.run(alert_rules=True)

    assert grafana.writes == []


async def test_a_dry_run_shows_every_rule_and_writes_none(synced: Synced, grafana: AlertingGrafana) -> None:
    """The difference comes first."""
    code, output = await synced.run(alert_rules=True, dry_run=True)

    assert (code, grafana.writes, grafana.rules) == (0, [], {})
    assert output.count("+ alert rule conftrack-") == len(UIDS)
    assert "18 changes to make" in output


@pytest.mark.parametrize("prune", [False, True])
async def test_whoever_does_not_ask_for_alert_rules_has_nothing_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prune: bool
) -> None:
    """Without the option not even a question is asked: this Grafana would refuse it as unknown."""
    async with FakeGrafana() as grafana:
        assert (await Synced(grafana, lay_out(tmp_path / "content"), capsys).run(prune=prune))[0] == 0


# -- change and drift


async def test_another_threshold_changes_its_rule_alone(synced: Synced, grafana: AlertingGrafana) -> None:
    """Thresholds are those of [alerts], as for Prometheus."""
    await synced.run(alert_rules=True)
    synced.alerts = AlertsConfig(cursor_still_after=timedelta(hours=1))

    code, output = await synced.run(alert_rules=True)

    assert (code, grafana.writes) == (0, [f"PUT {RULE}/{STILL}"])
    assert "> 3600" in grafana.rules[STILL]["data"][0]["model"]["expr"]
    assert "data[0].model.expr:" in output


async def test_another_language_changes_the_texts(synced: Synced, grafana: AlertingGrafana) -> None:
    """`--lang` is what it is for the rules of Prometheus."""
    await synced.run(alert_rules=True)

    await synced.run(alert_rules=True, lang="en")

    assert grafana.rules["conftrack-down"]["annotations"]["summary"] == "conftrack does not work"
    assert len(grafana.writes) == len(UIDS)


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        ({"isPaused": True}, "isPaused: true → false"),
        ({"for": "10m"}, 'for: "10m" → "0s"'),
        ({"labels": {"severity": "info", "team": "x"}}, 'labels.team: "x" goes'),
        ({"annotations": {"__conftrack_sync__": "true", "summary": "mine"}}, 'annotations.summary: "mine" → '),
        ({"ruleGroup": "mine"}, 'ruleGroup: "mine" → "conftrack incidents"'),
        ({"folderUID": "mine"}, 'folderUID: "mine" → "conftrack"'),
        ({"noDataState": "Alerting", "execErrState": "OK"}, 'noDataState: "Alerting" → "OK"'),
        ({"missingSeriesEvalsToResolve": 5}, "missingSeriesEvalsToResolve: 5 → 1"),
        ({"keep_firing_for": "1h"}, 'keep_firing_for: "1h" → "0s"'),
        ({"data": []}, "data[0]: "),
    ],
)
async def test_what_somebody_edited_by_hand_is_shown_and_put_back(
    synced: Synced, grafana: AlertingGrafana, edit: Json, line: str
) -> None:
    """Every setting, the place, and a pause that was forgotten: shown with when it was saved, lost only to a yes."""
    await synced.run(alert_rules=True)
    grafana.folders["mine"] = {"uid": "mine", "title": "Mine", "version": 1}
    brought = {key: value for key, value in grafana.rules[DROPPED].items() if key not in ("id", "updated")}
    grafana.edit_rule(DROPPED, **edit)

    code, output = await synced.run(alert_rules=True, dry_run=True)
    assert (code, grafana.writes) == (0, [])
    assert line in output
    assert "last saved on 2026-11-24 19:00; Grafana does not say by whom" in output

    await synced.run(alert_rules=True)
    assert grafana.writes == [f"PUT {RULE}/{DROPPED}"]
    held = grafana.rules[DROPPED]
    assert {key: value for key, value in held.items() if key not in ("id", "updated")} == brought


async def test_an_edited_query_is_put_back(synced: Synced, grafana: AlertingGrafana) -> None:
    """The expression that somebody loosened is shown beside ours."""
    await synced.run(alert_rules=True)
    data = copy.deepcopy(grafana.rules[OUTAGE]["data"])
    data[0]["model"]["expr"] = "conftrack_outage > 100"
    grafana.edit_rule(OUTAGE, data=data)

    _, output = await synced.run(alert_rules=True)

    assert 'data[0].model.expr: "conftrack_outage > 100" → "' in output
    assert "last_over_time" in grafana.rules[OUTAGE]["data"][0]["model"]["expr"]


async def test_whom_a_rule_tells_is_not_ours(synced: Synced, grafana: AlertingGrafana) -> None:
    """A contact point that somebody chose for a rule is no difference, and a change of the rule keeps it."""
    await synced.run(alert_rules=True)
    grafana.edit_rule(STILL, notification_settings={"receiver": "trực ban"})
    await synced.run(alert_rules=True)
    assert grafana.writes == []

    synced.alerts = AlertsConfig(cursor_still_after=timedelta(hours=1))
    await synced.run(alert_rules=True)

    assert grafana.rules[STILL]["notification_settings"] == {"receiver": "trực ban"}


async def test_another_interval_of_a_group_is_put_back(synced: Synced, grafana: AlertingGrafana) -> None:
    """The interval is of all rules of a group; it is put back without touching a rule, also one of others in it."""
    await synced.run(alert_rules=True)
    grafana.add_rule(**theirs())
    grafana.intervals["conftrack", "conftrack"] = 300
    rules = copy.deepcopy(grafana.rules)

    code, output = await synced.run(alert_rules=True)

    assert (code, grafana.writes) == (0, [EVERYTHING[-1]])
    assert "interval in seconds: 300 → 20" in output
    assert grafana.intervals["conftrack", "conftrack"] == 20
    assert grafana.rules == rules


async def test_a_deleted_rule_comes_back(synced: Synced, grafana: AlertingGrafana) -> None:
    """What somebody deleted by hand is missing, and shown as such."""
    await synced.run(alert_rules=True)
    del grafana.rules[DROPPED]

    await synced.run(alert_rules=True)

    assert grafana.writes == [f"POST {RULE}"]


# -- what is somebody else's


async def test_rules_of_others_are_not_touched(synced: Synced, grafana: AlertingGrafana) -> None:
    """Also those in our groups, and copies of ours: the same, byte for byte, after every kind of run."""
    await synced.run(alert_rules=True)
    grafana.add_rule(**theirs())
    grafana.add_rule(**theirs(uid="copy", title="A copy", annotations={"__conftrack_sync__": "true"}))
    grafana.add_rule(**theirs(uid="conftrack-theirs", title="Named so by chance"))
    before = {uid: copy.deepcopy(grafana.rules[uid]) for uid in ("theirs", "copy", "conftrack-theirs")}

    synced.alerts = AlertsConfig(rejected_records=5)
    await synced.run(alert_rules=True, prune=True)
    await synced.run(alert_rules=False, prune=True)

    assert grafana.rules == before


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (theirs(uid=DROPPED), f"alert rule {DROPPED} 'ConftrackEndpointDropped' is there, and conftrack did not make"),
        (theirs(title="ConftrackOutage"), f"alert rule theirs is called 'ConftrackOutage', as {OUTAGE} must be"),
        (
            theirs(uid=DROPPED, annotations={"__conftrack_sync__": "true"}, provenance="file"),
            "is kept by something else (file): take it out there",
        ),
    ],
)
async def test_what_is_taken_is_refused_before_anything_is_written(
    synced: Synced, grafana: AlertingGrafana, rule: Json, says: str
) -> None:
    """A uid or a title that somebody else has, or a rule that comes from a file or Terraform."""
    grafana.add_rule(**rule)

    refusal = await synced.refused(alert_rules=True, prune=True)

    assert says in refusal
    assert grafana.writes == []


async def test_the_same_title_in_another_folder_is_in_nobodys_way(synced: Synced, grafana: AlertingGrafana) -> None:
    """Titles are unique within a folder only."""
    grafana.folders["mine"] = {"uid": "mine", "title": "Mine", "version": 1}
    grafana.add_rule(**theirs(title="ConftrackOutage", folderUID="mine"))

    assert (await synced.run(alert_rules=True))[0] == 0


async def test_prune_deletes_only_its_own(synced: Synced, grafana: AlertingGrafana) -> None:
    """A rule that an older version brought is listed, and goes with --prune."""
    await synced.run(alert_rules=True)
    grafana.add_rule(**theirs(uid="conftrack-old", title="ConftrackOld", annotations={"__conftrack_sync__": "true"}))
    grafana.add_rule(**theirs())

    code, output = await synced.run(alert_rules=True)
    assert (code, grafana.writes) == (0, [])
    assert "Left: alert rule conftrack-old 'ConftrackOld'" in output

    await synced.run(alert_rules=True, prune=True)
    assert grafana.writes == [f"DELETE {RULE}/conftrack-old"]
    assert grafana.rules.keys() == {*UIDS, "theirs"}


async def test_who_goes_over_to_prometheus_takes_the_rules_out(synced: Synced, grafana: AlertingGrafana) -> None:
    """--no-alert-rules lists them all, and with --prune deletes them, before the data source that they ask."""
    await synced.run(alert_rules=True)
    grafana.writes.clear()

    _, output = await synced.run(alert_rules=False)
    assert (grafana.writes, output.count("Left: alert rule")) == ([], len(UIDS))

    assert (await synced.run(alert_rules=False, prune=True))[0] == 0
    assert grafana.rules == {}
    assert (await synced.run(alert_rules=False, prune=True))[1].endswith("everything as it should be.\n")


# -- conflicts and failures in the middle


async def test_a_rule_saved_meanwhile_is_not_overwritten(synced: Synced, grafana: AlertingGrafana) -> None:
    """Grafana would overwrite it: it is read again before it is written, and left."""
    await synced.run(alert_rules=True)
    synced.alerts = AlertsConfig(cursor_still_after=timedelta(hours=1))
    grafana.before(f"GET {RULE}/{STILL}", lambda: grafana.edit_rule(STILL, isPaused=True))

    refusal = await synced.refused(alert_rules=True)

    assert f"alert rule {STILL} 'ConftrackCursorStill' was changed while this was running" in refusal
    assert grafana.rules[STILL]["isPaused"]
    assert "isPaused: true → false" in (await synced.run(alert_rules=True))[1]


async def test_a_rule_made_meanwhile_is_not_overwritten(synced: Synced, grafana: AlertingGrafana) -> None:
    """409 on a uid that was free when the difference was made."""
    grafana.before(f"POST {RULE}", lambda: grafana.add_rule(**theirs(uid=UIDS[0])))

    refusal = await synced.refused(alert_rules=True)

    assert f"alert rule {UIDS[0]} 'ConftrackDown' was changed while this was running" in refusal
    assert grafana.rules[UIDS[0]]["title"] == "Disk full"


async def test_a_title_taken_meanwhile_is_told_as_such(synced: Synced, grafana: AlertingGrafana) -> None:
    """409 for another reason than the uid is not called an edit of the rule."""
    grafana.before(f"POST {RULE}", lambda: grafana.add_rule(**theirs(title="ConftrackDown")))

    refusal = await synced.refused(alert_rules=True)

    assert "409: rule title under the same organisation and folder should be unique" in refusal
    assert "changed while" not in refusal


async def test_a_rule_edited_or_gone_meanwhile_is_not_deleted(synced: Synced, grafana: AlertingGrafana) -> None:
    """A deletion that was agreed to is not made of something else than was shown."""
    await synced.run(alert_rules=True)
    grafana.before(f"GET {RULE}/{DROPPED}", lambda: grafana.edit_rule(DROPPED, isPaused=True))
    assert "was changed while" in await synced.refused(alert_rules=False, prune=True)
    assert DROPPED in grafana.rules

    grafana.before(f"GET {RULE}/{DROPPED}", lambda: grafana.rules.pop(DROPPED))
    assert "was changed while this was running (it is gone)" in await synced.refused(alert_rules=False, prune=True)
    assert (await synced.run(alert_rules=False, prune=True))[0] == 0


async def test_a_rule_gone_between_reading_and_writing_is_told(synced: Synced, grafana: AlertingGrafana) -> None:
    """Grafana's 404 of a rule has no body; it is not taken for the answer of something else."""
    await synced.run(alert_rules=True)
    synced.alerts = AlertsConfig(cursor_still_after=timedelta(hours=1))
    grafana.before(f"PUT {RULE}/{STILL}", lambda: grafana.rules.pop(STILL))

    assert "does not have it any more (404: no reason): run this again" in await synced.refused(alert_rules=True)


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("number", [0, 1, len(UIDS) - 1, len(UIDS), len(UIDS) + 1])
async def test_after_a_failure_in_the_middle_a_repeat_does_the_rest(
    synced: Synced, grafana: AlertingGrafana, number: int, done: bool
) -> None:
    """Whichever write fails, whether or not Grafana did it all the same, a repeat ends where an unbroken run does."""
    grafana.fail(number, done=done)

    assert "run this again when it works" in await synced.refused(alert_rules=True)
    assert synced.output.count("Done: ") == number

    assert (await synced.run(alert_rules=True))[0] == 0
    assert grafana.writes == EVERYTHING[number + done :]
    assert list(grafana.rules) == UIDS
    assert sorted(grafana.intervals.values()) == [10, 20]


# -- what goes wrong, in words


async def test_a_token_without_alerting_rights_writes_nothing(synced: Synced, grafana: AlertingGrafana) -> None:
    """403 on the first look, before dashboards are changed: all or nothing of the plan."""
    synced.config = replace(synced.config, token=Secret("glsa_no_alerting"), prometheus_url="http://other.example:9090")

    refusal = await synced.refused(alert_rules=True)

    assert "listing alert rules: " in refusal
    assert "does not allow it (403: " in refusal
    assert grafana.writes == []


async def test_a_grafana_without_alerting_is_told(synced: Synced, grafana: AlertingGrafana) -> None:
    """Its alerting can be switched off: then there is no such address."""
    grafana.alerting = False

    assert "does no alerting: it is switched off" in await synced.refused(alert_rules=True)


@pytest.mark.parametrize(
    ("request_", "response", "says"),
    [
        (f"GET {RULE}", web.json_response([{"title": "no uid"}]), "answers in an unknown way"),
        (f"POST {RULE}", web.json_response({"message": "quota reached"}, status=403), "(403: quota reached)"),
        (f"POST {RULE}", web.json_response({"message": "bad model"}, status=400), "refused (400: bad model)"),
        ("PUT .*rule-groups/conftrack", web.json_response({"message": "no: 1m"}, status=400), "refused (400: no: 1m)"),
    ],
)
async def test_every_bad_answer_is_told_in_a_sentence(
    synced: Synced, grafana: AlertingGrafana, request_: str, response: web.Response, says: str
) -> None:
    """Grafana's own reason is passed on."""
    grafana.break_(request_, response)

    assert says in await synced.refused(alert_rules=True)


async def test_being_told_twice_is_warned_of(synced: Synced, grafana: AlertingGrafana) -> None:
    """Before the question, when the Prometheus that would be asked evaluates the same alerts itself."""
    grafana.prometheus_rules = ["ConftrackOutage", "ConftrackDown", "NodeDown"]
    seen = []

    async def no(question: str) -> bool:
        seen.append(question)
        return False

    await synced.run(alert_rules=True, asked=no)
    assert "already evaluates 2 rules of these: everybody would be told twice" in synced.output
    assert seen

    code, output = await synced.run(alert_rules=True)
    assert (code, output.count("told twice")) == (0, 1)
    grafana.prometheus_rules = ["NodeDown"]
    assert "told twice" not in (await synced.run(alert_rules=True))[1]


async def test_a_first_sync_warns_of_being_told_twice_too(
    grafana: AlertingGrafana, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The data source is made by the same run; Prometheus is asked through it as soon as it is there."""
    grafana.prometheus_rules = ["ConftrackOutage"]

    code, output = await Synced(grafana, lay_out(tmp_path / "content"), capsys).run(alert_rules=True)

    assert (code, output.count("told twice")) == (0, 1)


async def test_a_prometheus_that_cannot_be_asked_stops_nothing(synced: Synced, grafana: AlertingGrafana) -> None:
    """Not every data source lets its rules be read."""
    grafana.break_("GET /datasources/proxy/.*", web.json_response({"message": "no rules here"}, status=404))

    assert (await synced.run(alert_rules=True))[0] == 0


def test_uids_fit_and_titles_differ() -> None:
    """Grafana takes 40 characters for a uid, and each title once in a folder."""
    made = [
        rule for group in grafana_groups(AlertsConfig(), Config().timezone, "vi", data_source="x")
        for rule in group["rules"]
    ]  # fmt: skip

    assert len({rule["title"] for rule in made}) == len({rule["uid"] for rule in made}) == len(made)
    assert all(len(rule["uid"]) <= 40 for rule in made)


async def test_problems_are_told_with_those_of_dashboards(synced: Synced, grafana: AlertingGrafana) -> None:
    """One refusal names all that stands in the way."""
    grafana.sources["conftrack-postgres"]["readOnly"] = True
    grafana.add_rule(**theirs(uid=DROPPED))

    with pytest.raises(ConftrackError) as caught:
        await synced.run(alert_rules=True)

    assert "data source conftrack-postgres" in str(caught.value)
    assert f"alert rule {DROPPED}" in str(caught.value)
