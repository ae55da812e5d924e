from worker.relay.rescue import OutageGate

LEASE = 9.0
INTERVAL = 1.0
LONG_UP = 1e6


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def gate_and_clock() -> tuple[OutageGate, Clock]:
    """A gate that has seen PostgreSQL well for a lease."""
    clock = Clock()
    gate = OutageGate(LEASE, interval=INTERVAL, clock=clock)
    for _ in range(int(LEASE / INTERVAL)):
        clock.now += INTERVAL
        opened = gate.answered(uptime=LONG_UP)
    assert opened
    return gate, clock


def test_a_gate_that_is_new_does_not_know_what_was_before_and_waits_one_lease() -> None:
    clock = Clock()
    gate = OutageGate(LEASE, interval=INTERVAL, clock=clock)
    for _ in range(int(LEASE / INTERVAL) - 1):
        clock.now += INTERVAL
        assert not gate.answered(uptime=LONG_UP)
    clock.now += INTERVAL
    assert gate.answered(uptime=LONG_UP)


def test_while_postgresql_takes_no_writes_rescue_waits_though_it_reads() -> None:
    gate, clock = gate_and_clock()
    for _ in range(30):
        clock.now += INTERVAL
        gate.answered(uptime=LONG_UP)
        gate.refused()
    for _ in range(int(LEASE / INTERVAL) - 1):
        clock.now += INTERVAL
        assert not gate.answered(uptime=LONG_UP)
    clock.now += INTERVAL
    assert gate.answered(uptime=LONG_UP)


def test_rescue_goes_on_while_postgresql_answers() -> None:
    gate, clock = gate_and_clock()
    for _ in range(20):
        assert gate.answered(uptime=LONG_UP)
        clock.now += 1.0


def test_an_outage_of_less_than_a_renewal_holds_nothing() -> None:
    gate, clock = gate_and_clock()
    assert gate.answered(uptime=LONG_UP)
    clock.now += INTERVAL + LEASE / 3
    assert gate.answered(uptime=LONG_UP)


def test_after_an_outage_rescue_waits_one_lease() -> None:
    gate, clock = gate_and_clock()
    clock.now += INTERVAL + LEASE / 3 + 0.1
    back = clock.now
    assert not gate.answered(uptime=LONG_UP)
    while clock.now + 1.0 < back + LEASE:
        clock.now += 1.0
        assert not gate.answered(uptime=LONG_UP)
    clock.now = back + LEASE
    assert gate.answered(uptime=LONG_UP)


def test_rescue_waits_until_a_restarted_postgresql_has_been_up_for_one_lease() -> None:
    gate, clock = gate_and_clock()
    assert not gate.answered(uptime=2.0)
    clock.now += 2.9
    assert not gate.answered(uptime=4.9)
    clock.now += 2.9
    assert not gate.answered(uptime=7.8)
    clock.now += 2.0
    assert gate.answered(uptime=9.8)
