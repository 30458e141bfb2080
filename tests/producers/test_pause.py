from producers.pause import PauseClock


def test_pause_adds_up_until_it_is_taken() -> None:
    clock = PauseClock()
    clock.start(100)
    clock.stop(150)
    clock.start(200)
    clock.stop(210)

    assert clock.take(300) == 60
    assert clock.take(400) == 0


def test_pause_that_goes_on_is_taken_piece_by_piece() -> None:
    clock = PauseClock()
    clock.start(100)

    assert (clock.take(130), clock.take(150)) == (30, 20)
    clock.stop(155)
    assert clock.take(200) == 5
    assert not clock.is_running


def test_pause_stopped_twice_counts_once() -> None:
    clock = PauseClock()
    clock.start(100)
    clock.stop(110)
    clock.stop(999)

    assert clock.take(1000) == 10
