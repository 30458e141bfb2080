"""Receivers, silences and windows from settings; what is missing is refused by its key."""

from pathlib import Path

import pytest

from core.notify.silences import Once, Weekly
from core.stability.alerts import Severity
from infra.runtime.settings import NotifySettings, SettingsError, load
from sinks.notify import options
from tests.sinks.notify.test_formats import S

BEGIN = "STREAMGAUGE__NOTIFY__"


def notify(toml: str, folder: Path, **environ: str) -> NotifySettings:
    path = folder / "streamgauge.toml"
    path.write_text(toml)
    return load(path, environ={BEGIN + name: value for name, value in environ.items()}).notify


def test_receivers_are_those_that_are_enabled(tmp_path: Path) -> None:
    found = options.receivers(
        notify(
            """
            [notify.receivers.am]
            kind = "alertmanager"
            url = "http://127.0.0.1:9093/"
            severity_min = "critical"
            [notify.receivers.off]
            kind = "webhook"
            enabled = false
            [notify.receivers.pager]
            kind = "pagerduty"
            """,
            tmp_path,
            RECEIVERS__PAGER__ROUTING_KEY="k" * 32,
            RECEIVERS__CHAT__KIND="slack",
            RECEIVERS__CHAT__SECRET_URL="https://hooks.example/services/T0/B0/xyz",
        )
    )

    by_name = {each.name: each for each in found}
    assert set(by_name) == {"am", "pager", "chat"}
    assert by_name["am"].address.reveal() == "http://127.0.0.1:9093/api/v2/alerts"
    assert by_name["am"].severity_min is Severity.CRITICAL
    assert by_name["pager"].address.reveal() == "https://events.pagerduty.com/v2/enqueue"
    assert by_name["chat"].host == "hooks.example:443"
    assert "xyz" not in repr(found)
    assert "kkk" not in repr(found)


@pytest.mark.parametrize(
    ("environ", "key", "said"),
    [
        ({"KIND": "webhook"}, "url", "secret_url"),
        ({"KIND": "slack"}, "secret_url", f"{BEGIN}RECEIVERS__X__SECRET_URL"),
        ({"KIND": "pagerduty"}, "routing_key", f"{BEGIN}RECEIVERS__X__ROUTING_KEY"),
        ({"KIND": "slack", "SECRET_URL": "hooks.example/s3cret"}, "secret_url", "https://"),
        ({"KIND": "webhook", "SECRET_URL": "http://[s3cret"}, "secret_url", "https://"),
        (
            {"KIND": "webhook", "SECRET_URL": "http://a/s3cret", "URL": "http://a"},
            "url",
            "one of",
        ),
    ],
)
def test_receiver_without_what_it_needs_is_refused(
    tmp_path: Path, environ: dict[str, str], key: str, said: str
) -> None:
    given = notify(
        "", tmp_path, **{f"RECEIVERS__X__{name}": each for name, each in environ.items()}
    )

    with pytest.raises(SettingsError) as caught:
        options.receivers(given)

    assert caught.value.key == f"notify.receivers.x.{key}"
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_silences_and_windows_are_those_of_the_file(tmp_path: Path) -> None:
    found = options.silences(
        notify(
            """
            [notify.silences.move]
            exchanges = ["kraken"]
            starts = 2026-11-28T10:00:00+01:00
            ends = "2026-11-28T10:00:00.5Z"
            reason = "they move"
            [notify.silences.ever]
            kinds = ["stream_*"]
            ends = 2030-01-01T00:00:00Z
            reason = "illiquid"
            [notify.maintenance.weekly]
            exchanges = ["deribit"]
            weekdays = ["tuesday", "sunday"]
            at = "02:30"
            minutes = 45
            [notify.maintenance.once]
            starts = 2026-11-28T10:00:00Z
            ends = 2026-11-28T11:00:00Z
            """,
            tmp_path,
        )
    )

    windows = {each.name: each.window for each in found}
    nine = 1_795_856_400 * S
    assert windows["move"] == Once(nine, nine + 3600 * S + S // 2)
    assert windows["ever"] == Once(0, 1_893_456_000 * S)
    assert windows["weekly"] == Weekly((1, 6), 150 * 60 * S, 45 * 60 * S)
    assert windows["once"] == Once(nine + 3600 * S, nine + 7200 * S)
    assert found[0].reason == "they move"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("kinds", "gaps", "gap"), ("channels", "ticker", "trades"), ("kinds", "x*", "silence")],
)
def test_silence_of_what_there_is_not_is_refused(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    given = notify(
        f"[notify.silences.x]\n{name} = ['{value}']\nends = 2030-01-01T00:00:00Z\nreason = 'r'\n",
        tmp_path,
    )

    with pytest.raises(SettingsError, match=f"notify.silences.x.{name}.*{said}"):
        options.silences(given)
