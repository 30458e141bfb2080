"""Every kind of alert has its page, the index and the documents name it, and commands exist."""

import re
from pathlib import Path

import pytest

from core.stability.alerts import AlertKind
from core.stability.incidents import SEVERITIES
from infra.cli.main import COMMANDS

CHECKOUT = Path(__file__).parents[1]
RUNBOOKS = CHECKOUT / "docs" / "runbooks"
SECTIONS = (
    "How it is detected",
    "What to check, in this order",
    "What the product has already done",
    "When it resolves",
    "False alarms",
)
NAMES = [kind.name.lower() for kind in AlertKind]


@pytest.mark.parametrize("name", NAMES)
def test_kind_of_alert_has_a_whole_page(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()

    assert text.startswith(f"# {name}: ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(SECTIONS)
    assert "1. " in text.partition(SECTIONS[1])[2]
    assert len(text.split()) > 150


def test_index_names_every_page_with_its_severity_and_no_other() -> None:
    rows = re.findall(r"^\| \[`(\w+)`\]\((\w+)\.md\) \| .+ \| (\w+) \|$", _read("README"), re.M)

    critical = {kind.name.lower() for kind in SEVERITIES}
    expected = [(name, name, "critical" if name in critical else "warning") for name in NAMES]
    assert rows == expected
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {*NAMES, "README"}


def test_document_of_incidents_links_every_page() -> None:
    text = (CHECKOUT / "docs" / "stability.md").read_text()

    assert set(re.findall(r"\(runbooks/(\w+)\.md\)", text)) == {*NAMES, "README"}


def test_commands_and_links_of_the_pages_exist() -> None:
    for path in RUNBOOKS.glob("*.md"):
        text = path.read_text()
        commands = re.findall(r"`streamgauge (\w+)", text)
        links = [each for each in re.findall(r"\]\(([^)#]+)", text) if "://" not in each]
        assert set(commands) <= set(COMMANDS), path.name
        assert not [each for each in links if not (path.parent / each).is_file()], path.name


def _read(name: str) -> str:
    return (RUNBOOKS / f"{name}.md").read_text()
