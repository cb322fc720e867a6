"""`conf/alerts.yaml`: read whole, checked whole; without it each alert is told as it comes."""

from pathlib import Path

import pytest

from ops_stream.core.rules_alerts import Alerts, Silence
from ops_stream.rules.bundle import compile_bundle, read_conf
from tests.rules.building import compiled, problems_of

CONF = Path(__file__).parents[2] / "conf"


def test_without_the_file_each_alert_is_told_as_it_comes() -> None:
    """Nothing is kept, and nothing is silent; a file that only has its version says the same."""
    assert compiled().alerts == compiled(alerts="version: 1\n").alerts == Alerts()
    assert not Alerts().kept


@pytest.mark.parametrize("room", ["", "strict", "demo"])
def test_the_shipped_files_keep_alerts_and_silence_none(room: str) -> None:
    """Each set of rules that is shipped tells alerts once in a while and when they are over, at any time of day."""
    alerts = compile_bundle(read_conf(CONF / room, {})).alerts
    assert alerts.kept
    assert alerts.repeat_s
    assert alerts.resolve_after_s
    assert alerts.silences == ()


def test_the_shipped_examples_of_silences_are_valid() -> None:
    """What stands commented out in the shipped file can be used as it stands."""
    lines = (CONF / "alerts.yaml").read_text("utf-8").splitlines()
    at = lines.index("silences: []")
    text = "\n".join([*lines[:at], "silences:", *(line.removeprefix("#") for line in lines[at + 1 :])])
    silences = compiled(alerts=text).alerts.silences
    assert [silence.name for silence in silences] == ["nights", "migration"]


def test_everything_can_be_set() -> None:
    """Each value reaches the core; times are milliseconds, windows of the day minutes, Monday is 0."""
    text = """version: 1
repeat_s: 60
group_s: 5
resolve_after_s: 7200
silences:
  - name: s1
    description: words
    tenant: acme
    kinds: [violation, input_gap]
    severities: [critical]
    valid_from: 2026-11-24T13:00:00Z
    valid_until: 2026-11-25T13:00:00Z
    daily: "22:00-06:30"
    weekdays: [mon, sun]
  - name: s2
    daily: 08:00-24:00
"""
    begin = 1_795_525_200_000
    whole = Silence(
        "s1",
        "acme",
        frozenset(("violation", "input_gap")),
        frozenset(("critical",)),
        begin,
        begin + 86_400_000,
        (22 * 60, 6 * 60 + 30),
        frozenset((0, 6)),
    )
    assert compiled(alerts=text).alerts == Alerts(60, 5, 7200, (whole, Silence("s2", daily=(480, 1440))))


@pytest.mark.parametrize(
    ("line", "message", "suggestion"),
    [
        ("repeat: 3", "Unknown key 'repeat'.", "Did you mean 'repeat_s'?"),
        ("repeat_s: -1", "greater than or equal to 0", ""),
        ("repeat_s: 604801", "less than or equal to 604800", ""),
        ("group_s: 3601", "less than or equal to 3600", ""),
        ("resolve_after_s: 7199", "raised at most once an hour", "at least 7200, or 0"),
        ("resolve_after_s: soon", "a whole number", ""),
        ("silences: [{}]", "'name' is missing.", ""),
        ("silences: [{name: a b}]", "'name' must be 1 to 128 characters", "'-'"),
        ("silences: [{name: a, kinds: [violations]}]", "no alert of kind 'violations'", "'violation'"),
        ("silences: [{name: a, severities: [high]}]", "must be one of info, warning, critical", ""),
        ("silences: [{name: a, severities: []}]", "at least 1", ""),
        ("silences: [{name: a, severities: [critical]}]", "never be told again", "valid_until"),
        ("silences: [{name: a, weekdays: [monday]}]", "one of mon, tue", "'mon'"),
        ('silences: [{name: a, daily: "22-6"}]', "two times", "HH:MM-HH:MM"),
        ('silences: [{name: a, daily: "22:00-22:00"}]', "two times", "HH:MM-HH:MM"),
        ('silences: [{name: a, daily: "00:00-00:00"}]', "two times", "HH:MM-HH:MM"),
        ('silences: [{name: a, daily: "24:00-06:00"}]', "two times", "HH:MM-HH:MM"),
        ("silences: [{name: a, valid_from: tomorrow}]", "RFC 3339", "'Z'"),
        (
            "silences: [{name: a, valid_from: 2026-11-24T13:00:00Z, valid_until: 2026-11-24T13:00:00Z}]",
            "over before it begins",
            "later",
        ),
        ("silences: [{name: a}, {name: a}]", "a silence 'a' already", "differently"),
    ],
)
def test_a_mistake_is_told_with_its_place(line: str, message: str, suggestion: str) -> None:
    """File and line, what is wrong and what to write instead."""
    (problem,) = problems_of(alerts=f"version: 1\n{line}\n")
    assert (problem.file, problem.line) == ("alerts.yaml", 2)
    assert message in problem.message
    assert suggestion in problem.suggestion


def test_all_mistakes_are_told_at_once() -> None:
    """One run of the check is enough to mend a file."""
    text = "version: 1\nrepeat_s: -1\nsilences:\n  - {name: a, daily: noon}\n  - {name: b, tenant: '?'}\n"
    assert [problem.line for problem in problems_of(alerts=text)] == [2, 4, 5]


def test_a_silence_of_critical_alerts_is_allowed_where_it_ends() -> None:
    """A maintenance window may be silent altogether, a night every night, and a weekend."""
    for narrowed in ("valid_until: 2027-01-01T00:00:00Z", 'daily: "01:00-02:00"', "weekdays: [sat, sun]"):
        text = f"version: 1\nsilences: [{{name: a, severities: [critical], {narrowed}}}]\n"
        assert len(compiled(alerts=text).alerts.silences) == 1


def test_no_more_silences_than_the_limit() -> None:
    """A file with more entries than the limit is refused: every alert is held against each of them."""
    entries = "\n".join(f"  - name: s{n}" for n in range(1_001))
    (problem,) = problems_of(alerts=f"version: 1\nsilences:\n{entries}\n")
    assert "1000" in problem.message.replace(",", "")
