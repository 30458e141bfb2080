"""Progress: what counts as standing still."""

from processors.progress import Position, Progress

A, B = ("raw.a", 0), ("raw.b", 1)


def test_progress_with_lag_and_no_commit_is_stalled_after_its_time() -> None:
    progress = Progress(stalled_after_s=60)

    progress.observe({A: Position(5, 9), B: Position(3, 3)}, now=100)
    progress.observe({A: Position(5, 90), B: Position(3, 3)}, now=160)

    assert progress.stalled(160) == []
    assert progress.stalled(161) == [A]
    assert progress.commit_age(161) == 61


def test_progress_that_commits_is_not_stalled_however_far_behind() -> None:
    progress = Progress(stalled_after_s=60)

    for step in range(5):
        progress.observe({A: Position(step, 1_000_000)}, now=100 + 50 * step)

    assert progress.stalled(320) == []
    assert dict(progress.lags()) == {A: 999_996}


def test_progress_without_work_waits_for_ever() -> None:
    progress = Progress(stalled_after_s=60)

    progress.observe({A: Position(7, 7)}, now=100)
    progress.observe({A: Position(7, 7)}, now=900)
    progress.observe({A: Position(7, 8)}, now=902)

    assert progress.stalled(902) == []


def test_progress_of_a_partition_that_went_away_is_forgotten() -> None:
    progress = Progress(stalled_after_s=60)

    progress.observe({A: Position(5, 9)}, now=100)
    progress.observe({}, now=150)
    progress.observe({A: Position(5, 9)}, now=170)

    assert progress.stalled(200) == []


def test_progress_touched_by_a_warm_up_is_not_stalled() -> None:
    progress = Progress(stalled_after_s=60)

    progress.observe({A: Position(5, 9)}, now=100)
    progress.touch(A, now=150)
    progress.touch(B, now=150)
    progress.observe({A: Position(5, 9)}, now=200)

    assert progress.stalled(205) == []
    assert progress.stalled(211) == [A]


def test_lag_is_never_negative() -> None:
    assert Position(committed=9, end=5).lag == 0
