"""Settings: where they come from, what is refused, and what an error says."""

import inspect
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.exchanges import exchanges
from infra.runtime.settings import Settings, SettingsError, effective, find_file, load, to_toml
from infra.runtime.settings.allowed import allowed
from infra.runtime.settings.reading import PREFIX
from infra.runtime.settings.reference import reference, tables, texts
from infra.runtime.settings.sections import ExchangeSettings
from infra.runtime.settings.values import Secret, Section


def read(toml: str, folder: Path, **environ: str) -> Settings:
    path = folder / "streamgauge.toml"
    path.write_text(toml)
    return load(path, environ={PREFIX + name: value for name, value in environ.items()})


def refusal(toml: str, folder: Path, **environ: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        read(toml, folder, **environ)
    return caught.value


def sections() -> list[tuple[str, type[Section]]]:
    return list(tables())


def test_settings_without_file_and_environment_are_the_defaults(tmp_path: Path) -> None:
    settings = load(environ={}, folder=tmp_path)

    assert settings == Settings()
    assert settings.kafka.bootstrap == "127.0.0.1:9092"
    assert settings.processor.book_levels == 25


def test_settings_of_a_file_replace_defaults_key_by_key(tmp_path: Path) -> None:
    settings = read(
        """
        [sink]
        block_rows = 7
        [exchanges.kraken]
        symbols = ["BTC/USD"]
        """,
        tmp_path,
    )

    assert settings.sink.block_rows == 7
    assert settings.sink.group == Settings().sink.group
    assert settings.exchanges == {"kraken": ExchangeSettings(symbols=("BTC/USD",))}


def test_settings_of_the_environment_win_over_the_file(tmp_path: Path) -> None:
    settings = read(
        "[sink]\nblock_rows = 7\nblock_age_ms = 8\n",
        tmp_path,
        SINK__BLOCK_ROWS="9",
        CLICKHOUSE__SECURE="true",
        EXCHANGES__BINANCE__SYMBOLS="BTCUSDT, ETHUSDT",
    )

    assert (settings.sink.block_rows, settings.sink.block_age_ms) == (9, 8)
    assert settings.clickhouse.secure is True
    assert settings.exchanges["binance"].symbols == ("BTCUSDT", "ETHUSDT")


@pytest.mark.parametrize(
    ("toml", "key", "said"),
    [
        ("[sink]\nblock_row = 1", "sink.block_row", "did you mean sink.block_rows"),
        ("[sinks]\nblock_rows = 1", "sinks", "did you mean sink"),
        ("sink = 1", "sink", "is a table"),
        ("[sink]\nblock_rows = 0", "sink.block_rows", "whole number, 1 to 10000000"),
        ("[sink]\nblock_rows = '5'", "sink.block_rows", "whole number"),
        ("[sink]\nblock_rows = 1.5", "sink.block_rows", "whole number"),
        ("[sink]\nblock_rows = true", "sink.block_rows", "whole number"),
        ("[sink.block_rows]\na = 1", "sink.block_rows", "whole number"),
        ("[clickhouse]\nsecure = 1", "clickhouse.secure", "true or false"),
        ("[clickhouse]\ndatabase = 'a; DROP'", "clickhouse.database", "letters, digits and `_`"),
        ("[runtime]\nlog_format = 'xml'", "runtime.log_format", "auto, console, json"),
        ("[kafka]\nbootstrap = 'broker'", "kafka.bootstrap", "`host:port`"),
        ("[kafka]\nbootstrap = 'broker:99999'", "kafka.bootstrap", "1 to 65535"),
        ("[kafka]\nbootstrap = ''", "kafka.bootstrap", "`host:port`"),
        ("[topics]\nprefix = 'a b'", "topics.prefix", "letters"),
        ("[kafka]\nsecurity_protocol = 'SASL_SSL'", "kafka.sasl_username", "SASL_SSL"),
        ("[exchanges]\nkraken = 1", "exchanges.kraken", "is a table"),
        ("[exchanges.Kraken]\nsymbols = ['A']", "exchanges.Kraken", "all small"),
        ("[exchanges.'a.b']\nsymbols = ['A']", "exchanges.a.b", "all small"),
        ("[exchanges.kraken]\nenabled = true", "exchanges.kraken.symbols", "a symbol or more"),
        ("[exchanges.kraken]\nsymbols = ['']", "exchanges.kraken.symbols", "text, not empty"),
        ("[exchanges.kraken]\nsymbols = 'A'", "exchanges.kraken.symbols", "list"),
        (
            "[exchanges.kraken]\nsymbols = ['A']\nwebsocket_url = 'http://a'",
            "exchanges.kraken.websocket_url",
            "wss://",
        ),
        (
            "[exchanges.kraken]\nsymbols = ['A']\noptions = {a = 1}",
            "exchanges.kraken.options",
            "is not a setting",
        ),
        ("[producer]\nbackoff_cap_ms = 1", "producer.backoff_cap_ms", "backoff_initial_ms"),
        ("[sink]\nretry_cap_ms = 1", "sink.retry_cap_ms", "retry_initial_ms"),
        ("[notify.receivers.pager]\nurl = 'http://a'", "notify.receivers.pager.kind", "pagerduty"),
        ("[notify.receivers.pager]\nkind = 'mail'", "notify.receivers.pager.kind", "pagerduty"),
        (
            "[notify.receivers.a__b]\nkind = 'webhook'",
            "notify.receivers.a__b",
            "letters, digits and single _",
        ),
        (
            "[notify.receivers.chat]\nkind = 'slack'\nurl = 'https://hooks.example/T0/secret'",
            "notify.receivers.chat.url",
            "secret_url in the environment",
        ),
        (
            "[notify.receivers.chat]\nkind = 'slack'\nsecret_url = 'https://hooks.example/x'",
            "notify.receivers.chat.secret_url",
            "STREAMGAUGE__NOTIFY__RECEIVERS__CHAT__SECRET_URL",
        ),
        (
            "[notify.receivers.am]\nkind = 'alertmanager'\nurl = 'http://a:9093/api/v2/alerts'",
            "notify.receivers.am.url",
            "before /api/v2/alerts",
        ),
        ("[notify.silences.x]\nreason = 'r'", "notify.silences.x", "exchanges, shards"),
        (
            "[notify.silences.x]\nexchanges = ['kraken']\nends = 2026-11-28T10:00:00Z",
            "notify.silences.x.reason",
            "why",
        ),
        (
            "[notify.silences.x]\nexchanges = ['kraken']\nreason = 'r'",
            "notify.silences.x.ends",
            "the time when it ends",
        ),
        (
            "[notify.silences.x]\nexchanges = ['kraken']\nends = 2026-11-28T10:00:00",
            "notify.silences.x.ends",
            "a time with its zone",
        ),
        (
            "[notify.silences.x]\nkinds = ['gap']\nreason = 'r'\n"
            "starts = 2026-11-28T11:00:00Z\nends = '2026-11-28T10:00:00Z'",
            "notify.silences.x.ends",
            "a later time",
        ),
        (
            "[notify.maintenance.x]\nat = '02:00'",
            "notify.maintenance.x",
            "weekdays, at and minutes",
        ),
        ("[notify.maintenance.x]\nat = '24:00'", "notify.maintenance.x.at", "as 02:30"),
        (
            "[notify.maintenance.x]\nweekdays = ['monday']\nat = '02:00'\nminutes = 5\n"
            "ends = 2026-11-28T10:00:00Z",
            "notify.maintenance.x",
            "starts and ends, or",
        ),
        ("[notify.maintenance.x]\nweekdays = ['mon']", "notify.maintenance.x.weekdays", "monday"),
        ("[notify]\nretry_cap_ms = 1", "notify.retry_cap_ms", "retry_initial_ms"),
    ],
)
def test_settings_that_are_wrong_are_refused_by_key(
    tmp_path: Path, toml: str, key: str, said: str
) -> None:
    error = refusal(toml, tmp_path)

    assert error.key == key
    assert said in str(error)


def test_settings_error_names_the_variable_it_came_from(tmp_path: Path) -> None:
    error = refusal("", tmp_path, SINK__BLOCK_ROWS="many")

    assert error.source == "STREAMGAUGE__SINK__BLOCK_ROWS"
    assert "'many'" in str(error)


@pytest.mark.parametrize("name", ["SINK", "SINK__", "SINK__BLOCK_ROWS__X", "X__Y", ""])
def test_settings_of_a_misspelt_variable_are_refused(tmp_path: Path, name: str) -> None:
    error = refusal("[sink]\nblock_rows = 1", tmp_path, **{name: "1"})

    assert error.source == PREFIX + name


def test_settings_error_names_the_file_it_came_from(tmp_path: Path) -> None:
    error = refusal("[sink]\nblock_rows = 0", tmp_path)

    assert error.source == str(tmp_path / "streamgauge.toml")


def test_settings_error_shows_no_more_than_200_characters_of_a_value(tmp_path: Path) -> None:
    error = refusal(f"[sink]\nblock_rows = '{'x' * 5000}'", tmp_path)

    assert len(str(error)) < 400


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"[sink", "is not TOML"), (b"\xff\xfe", "is not UTF-8"), (None, "cannot be read")],
)
def test_settings_of_an_unreadable_file_are_refused(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "broken.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SettingsError, match=said):
        load(path, environ={})


def test_secret_in_a_file_is_refused_without_showing_it(tmp_path: Path) -> None:
    error = refusal("[clickhouse]\npassword = 'hunter2'", tmp_path)

    assert "STREAMGAUGE__CLICKHOUSE__PASSWORD" in str(error)
    assert "hunter2" not in str(error)


def test_secret_of_the_environment_shows_nowhere_but_where_revealed(tmp_path: Path) -> None:
    settings = read("", tmp_path, CLICKHOUSE__PASSWORD="hunter2")

    assert settings.clickhouse.password.reveal() == "hunter2"
    shown = [repr(settings), str(settings), str(effective(settings)), to_toml(settings)]
    assert not [text for text in shown if "hunter2" in text]
    assert effective(settings)["clickhouse"]["password"] == "***"
    assert effective(settings)["kafka"]["sasl_password"] == ""


def test_secret_of_a_file_that_the_environment_names_is_its_one_line(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b" hunter 2\r\n")

    settings = read("", tmp_path, CLICKHOUSE__PASSWORD_FILE=str(file))

    assert settings.clickhouse.password.reveal() == " hunter 2"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"", "holds nothing"),
        (b"hunter2\nmore", "more than one line"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_secret_file_that_cannot_be_one_is_refused_without_showing_it(
    content: bytes | None, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(SettingsError, match=said) as refused:
        read("", tmp_path, CLICKHOUSE__PASSWORD_FILE=str(file))

    assert "clickhouse.password" in str(refused.value)
    assert "STREAMGAUGE__CLICKHOUSE__PASSWORD_FILE" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_secret_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is set by STREAMGAUGE__CLICKHOUSE__PASSWORD, too"):
        read("", tmp_path, CLICKHOUSE__PASSWORD="a", CLICKHOUSE__PASSWORD_FILE="b")


def test_file_lookup_prefers_the_variable_then_the_folder_then_a_running_run(
    tmp_path: Path,
) -> None:
    named = tmp_path / "named.toml"
    (tmp_path / "var").mkdir()

    assert find_file(environ={}, folder=tmp_path) is None
    (tmp_path / "var" / "run.toml").touch()
    assert find_file(environ={}, folder=tmp_path) == tmp_path / "var" / "run.toml"
    (tmp_path / "streamgauge.toml").touch()
    assert find_file(environ={}, folder=tmp_path) == tmp_path / "streamgauge.toml"
    assert find_file(environ={"STREAMGAUGE_CONFIG": str(named)}, folder=tmp_path) == named


def test_file_that_the_variable_names_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load(environ={"STREAMGAUGE_CONFIG": str(tmp_path / "absent.toml")}, folder=tmp_path)


def test_settings_written_as_toml_are_read_again_equal(tmp_path: Path) -> None:
    settings = read(
        """
        [kafka]
        bootstrap = "a:1,[::1]:2"
        [exchanges.deribit]
        symbols = ["BTC-PERPETUAL"]
        [exchanges.off]
        enabled = false
        [notify]
        flap_openings = 0
        [notify.receivers.pager]
        kind = "pagerduty"
        [notify.silences.move]
        exchanges = ["kraken"]
        ends = 2026-11-28T10:00:00Z
        reason = "they move"
        """,
        tmp_path,
    )

    assert read(to_toml(settings), tmp_path) == settings


def test_text_of_exchanges_names_every_exchange() -> None:
    text = inspect.getdoc(ExchangeSettings) or ""
    named = set(re.findall(r"`([a-z_0-9]+)`", text))

    assert named == set(exchanges())


def test_effective_settings_hold_every_key() -> None:
    tree = effective(Settings())

    for name, section in sections():
        if "." in name:
            continue
        assert set(tree[name]) == set(section.__struct_fields__)


@given(
    st.dictionaries(
        st.text(max_size=30).map(lambda text: PREFIX + text.replace("\0", "")),
        st.text(max_size=50),
        max_size=4,
    )
)
def test_settings_of_any_environment_load_or_are_refused(environ: dict[str, str]) -> None:
    try:
        settings = load(environ=environ, folder=Path("/nonexistent"))
    except SettingsError:
        return
    assert isinstance(settings, Settings)


@given(
    st.dictionaries(
        st.sampled_from([field.name for field in msgspec.structs.fields(Settings)]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["bootstrap", "symbols", "enabled", "block_rows", "kraken", "x"]
                    ),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=9,
        ),
    )
)
def test_settings_of_any_tree_load_or_are_refused(tree: dict[str, object]) -> None:
    """A file of any shape ends in settings or in a `SettingsError`, never in another error."""
    from infra.runtime.settings.reading import _section

    try:
        settings = _section(Settings, tree, (), "file")
    except SettingsError:
        return
    assert isinstance(settings, Settings)


@pytest.mark.parametrize(("name", "section"), sections())
def test_each_setting_says_what_it_allows_and_does(name: str, section: type[Section]) -> None:
    described = texts(section)

    for field in msgspec.structs.fields(section):
        assert allowed(field.type)
        assert described.get(field.name, "").endswith("."), f"{name}.{field.name} has no text"
        for unit in ("ms", "s", "hours", "bytes"):
            words = {"hours": "h"}.get(unit, unit)
            if field.name.endswith(f"_{unit}"):
                assert f", {words}" in described[field.name], f"{name}.{field.name} has no unit"


def test_each_default_is_allowed_by_its_own_type() -> None:
    for _, section in sections():
        for field in msgspec.structs.fields(section):
            if field.default not in (msgspec.NODEFAULT, None) and not isinstance(
                field.default, Secret
            ):
                assert msgspec.convert(field.default, field.type) == field.default


def test_secrets_are_never_taken_for_something_else() -> None:
    """A key that sounds like a secret is one, so that it cannot stand in a file."""
    for name, section in sections():
        for field in msgspec.structs.fields(section):
            secret = field.type is Secret or Secret in get_args(field.type)
            sounds_so = re.search(r"password$|^secret_|^routing_key$|^token$", field.name)
            assert secret == bool(sounds_so), f"{name}.{field.name}"


def test_reference_in_docs_is_that_of_the_code() -> None:
    path = Path(__file__).parents[2] / "docs" / "settings.md"

    assert path.read_text() == reference(), "run `make docs`"
