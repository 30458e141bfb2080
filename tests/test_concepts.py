"""docs/concepts.md: every concept has a test that is there, or says why it is out."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROW = re.compile(r"\| (\d+) \| [^|]+ \| (.+) \|")


def test_every_concept_is_shown_by_a_test_or_out_for_a_reason() -> None:
    rows = ROW.findall((ROOT / "docs/concepts.md").read_text(encoding="utf-8"))

    assert [int(number) for number, _ in rows] == list(range(1, 42))
    for number, shown in rows:
        named = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", shown)
        if named is None:
            assert re.fullmatch(r"out: .{5,}", shown), f"concept {number}: {shown}"
            continue
        text = (ROOT / named.group(1)).read_text(encoding="utf-8")
        assert f"def {named.group(2)}(" in text, f"concept {number}: there is no {shown}"
