"""Parts of the lock file, as the images take them."""

import re
from pathlib import Path

import pytest

from infra.docker.locked import entries, main, part

ROOT = Path(__file__).parents[2]
LOCK = """\
# made by a tool
one==1 \\
    --hash=sha256:11 \\
    --hash=sha256:12
two-words==2 ; sys_platform == 'linux' \\
    --hash=sha256:21
"""


def test_part_only_has_the_named_with_their_hashes() -> None:
    assert part(LOCK, "only", {"two-words"}) == (
        "two-words==2 ; sys_platform == 'linux' \\\n    --hash=sha256:21\n"
    )


def test_part_without_has_all_others() -> None:
    assert part(LOCK, "without", {"two-words"}) == (
        "one==1 \\\n    --hash=sha256:11 \\\n    --hash=sha256:12\n"
    )


@pytest.mark.parametrize("choice", ["only", "without"])
def test_part_with_a_name_not_locked_is_refused(choice: str) -> None:
    with pytest.raises(ValueError, match="not in the lock file: three"):
        part(LOCK, choice, {"one", "three"})


def test_entries_of_a_line_without_a_package_is_refused() -> None:
    with pytest.raises(ValueError, match="a package was expected"):
        entries("    --hash=sha256:11\n")


@pytest.mark.parametrize("arguments", [[], ["x", "only"], ["x", "some", "name"]])
def test_main_with_wrong_arguments_says_how(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("image", ["kafka", "clickhouse", "streamgauge"])
def test_packages_of_every_image_are_in_the_lock(image: str) -> None:
    """Otherwise the build would be the first to say so."""
    text = (ROOT / "infra" / "docker" / image / "Dockerfile").read_text().replace("\\\n", " ")
    found = re.search(r"locked\.py requirements\.txt (only|without)(.*?)> part\.txt", text)
    assert found is not None
    choice, names = found.group(1), set(found.group(2).split())

    chosen = part((ROOT / "requirements.txt").read_text(), choice, names)

    assert chosen.count("==") >= len(names if choice == "only" else {"any"})
