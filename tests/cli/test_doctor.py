"""Whether the set-up is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alma_async._clock import Clock
from alma_async.sim import DEMO_COLLECTION, DEMO_SERVICE
from tests.cli.conftest import KEY, Ran, Served, Shell

AREAS = {"electronic", "conf", "bibs"}


def findings(ran: Ran) -> dict[str, tuple[bool, str]]:
    """What was told, by name."""
    told: list[dict[str, Any]] = [json.loads(line) for line in ran.out.splitlines()]
    return {one["check"]: (one["ok"], one["finding"]) for one in told}


def wrong(ran: Ran) -> set[str]:
    """The names of what is not right."""
    return {name for name, (ok, _) in findings(ran).items() if not ok}


def test_where_all_is_right_three_calls_tell_it(shell: Shell, served: Served, tmp_path: Path) -> None:
    """Each finding has its line, nothing but three GETs is sent, and the key is not shown."""
    with served(quota=5000) as world:
        ran = shell("doctor")
        assert dict(world.tally.routes) == {
            "GET /almaws/v1/electronic/e-collections": 1,
            "GET /almaws/v1/conf/general": 1,
            "GET /almaws/v1/bibs/test": 1,
        }
    names = [line.split()[1] for line in ran.out.splitlines()]
    assert names == ["address", "state", "electronic", "conf", "bibs", "clock", "quota"]
    assert (ran.code, ran.err, "WRONG" in ran.out, KEY in ran.out) == (0, "", False, False)
    assert f"{tmp_path / 'state'}, shared" in ran.out
    assert "institution 01SIM_INST, sandbox" in ran.out
    assert "agrees with Alma's" in ran.out
    assert "4,997 calls left today" in ran.out


def test_what_loads_have_seen_is_shown(shell: Shell, served: Served, tmp_path: Path) -> None:
    """After a load the institution's ways with creates and updates are a finding; before, there is none."""
    file = tmp_path / "titles.csv"
    file.write_text("mms_id,url,coverage_from\n99001234,https://journals.example/,1999\n", encoding="utf-8")
    with served(post_answers="short"):
        assert "alma" not in findings(shell("doctor", "--json"))
        assert shell("load", str(file), "--collection", DEMO_COLLECTION, "--service", DEMO_SERVICE).code == 0
        said = "a create ignores coverage, its answer is short, that of an update is whole"
        assert findings(shell("doctor", "--json"))["alma"] == (True, f"as loads have seen: {said}")


@pytest.mark.parametrize("missing", sorted(AREAS))
def test_an_area_that_the_key_lacks_is_named(shell: Shell, served: Served, missing: str) -> None:
    """The others are looked at all the same, and it is not taken for a wrong key."""
    with served(areas=AREAS - {missing}):
        ran = shell("doctor", "--json")
    assert (ran.code, wrong(ran)) == (1, {missing})
    assert findings(ran)[missing][1].startswith("not for this key, so no ")
    assert "UNAUTHORIZED API-key not defined" in findings(ran)[missing][1]
    assert ("a call for each portfolio of its service instead of one for 100" in ran.out) == (
        missing == "bibs"
    )


def test_a_key_that_is_refused_everywhere_is_wrong_or_of_another_region(
    shell: Shell, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the areas one line says so, and where it was refused."""
    monkeypatch.setenv("ALMA_API_KEY", "of-elsewhere")
    with served():
        ran = shell("doctor", "--json")
    assert (ran.code, wrong(ran)) == (1, AREAS | {"key"})
    assert "not of the region of http://127.0.0.1:" in findings(ran)["key"][1]
    assert "of-elsewhere" not in ran.out + ran.err


HOURS_OFF = ("5 hours behind Alma's", "4 hours 59 minutes behind Alma's")


@pytest.mark.parametrize(
    ("ahead", "told"),
    [
        (-7, ["7 seconds ahead", "8 seconds ahead", "6 seconds ahead", "5 seconds ahead"]),
        (3600, ["1 hour behind Alma's: set it, since reports and logs go by it", "59 minutes 5"]),
        (
            18000,
            [
                f"{off}: set it, since reports and logs go by it, and so does the end of the day's"
                for off in HOURS_OFF
            ],
        ),
    ],
)
def test_a_clock_that_is_off_is_told_by_how_much(
    shell: Shell, served: Served, ahead: float, told: list[str]
) -> None:
    """The distance to the server's Date is told to about a second; from half a minute on it is wrong."""
    with served(epoch=Clock().utc().timestamp() + ahead):
        ran = shell("doctor", "--json")
    ok, what = findings(ran)["clock"]
    assert any(what.startswith(text) for text in told)
    assert (ok, ran.code) == ((True, 0) if ahead == -7 else (False, 1))


def test_a_server_that_is_not_there_is_one_finding(
    shell: Shell, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps the first call from its answer ends the calls; the rest is still told."""
    with served():
        pass
    ran = shell("doctor", "--json")
    assert (ran.code, wrong(ran)) == (1, {"electronic"})
    assert "127.0.0.1" in findings(ran)["electronic"][1]
    assert not {"conf", "bibs", "clock", "quota"} & set(findings(ran))


def test_spent_calls_are_told(shell: Shell, served: Served) -> None:
    """Where the day's calls are spent, the first call says until when."""
    with served(quota=0):
        ran = shell("doctor", "--json")
    assert (ran.code, wrong(ran)) == (1, {"electronic"})
    assert "midnight UTC" in findings(ran)["electronic"][1]


def test_a_state_directory_that_cannot_be_used_is_told(
    shell: Shell, served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No journal can be kept there, and what to set is said; the areas are looked at all the same."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with served():
        monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path / "file"))
        ran = shell("doctor", "--json")
    assert (ran.code, wrong(ran)) == (1, {"state"})
    assert "ALMA_STATE_DIR" in findings(ran)["state"][1]


def test_a_budget_that_is_not_shared_is_told(
    shell: Shell, served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where journals can be kept and the budget cannot, other processes are not known of."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "budgets").write_text("", encoding="utf-8")
    with served():
        monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path / "other"))
        ran = shell("doctor", "--json")
    assert (ran.code, wrong(ran)) == (1, {"state"})
    assert "not shared" in findings(ran)["state"][1]
    assert "No file for the machine's budget" in ran.err


def test_without_a_key_nothing_is_looked_at(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing key is an error of the set-up, like everywhere."""
    monkeypatch.delenv("ALMA_API_KEY")
    ran = shell("doctor", "--region", "eu")
    assert (ran.code, ran.out) == (2, "")
    assert "ALMA_API_KEY" in ran.err


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_state_directory_that_others_write_to_is_told_by_every_command(
    shell: Shell, served: Served, tmp_path: Path, mode: int
) -> None:
    """Doctor finds it wrong and says what to do; quota says that the budget is not shared; the guard starts nothing there."""
    state = tmp_path / "state"
    with served():
        state.chmod(mode)
        why = f"'{state}' can be written by other users. Close it to others (chmod go-w), or choose"
        ran = shell("doctor", "--json")
        assert (ran.code, wrong(ran)) == (1, {"state"})
        assert f"not shared with other processes: {why}" in findings(ran)["state"][1]
        ran = shell("quota", "--json")
        seen = json.loads(ran.out)
        assert (ran.code, seen["shared"]) == (0, False)
        assert seen["per_second"] == pytest.approx(seen["limit"] / 4, rel=0.05)
        assert "a part of the rate" in seen["why"]
        assert (f"does not share its rate with others here: {why}" in ran.err, "Errno" in ran.err) == (
            True,
            False,
        )
        ran = shell("jobs", "guard")
        assert (ran.code, why in ran.err, "Errno" in ran.err) == (74, True, False)
