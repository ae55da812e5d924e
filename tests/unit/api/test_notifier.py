import asyncio

import pytest
import structlog.testing

from api import notifier as module
from api.notifier import Notifier
from observability.logs import get_logger


class Sender:
    """Counts notifications; each waits for ``let``."""

    def __init__(self) -> None:
        self.begun = 0
        self.began = asyncio.Event()
        self.let = asyncio.Semaphore(0)

    async def __call__(self) -> None:
        self.begun += 1
        self.began.set()
        await self.let.acquire()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_wakes_during_a_notification_cause_exactly_one_more() -> None:
    sender = Sender()
    notifier = Notifier(sender, pause=0)
    notifier.start()
    notifier.wake()
    await sender.began.wait()
    for _ in range(100):
        notifier.wake()
    await settle()
    assert sender.begun == 1
    sender.let.release()
    await settle()
    assert sender.begun == 2
    sender.let.release()
    await settle()
    assert sender.begun == 2
    await notifier.close()


async def test_a_failed_notification_is_counted_logged_once_and_does_not_stop_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A logger that was used before keeps what it was configured with then, and nothing could be captured of it.
    monkeypatch.setattr(module, "_log", get_logger("test"))
    sent = 0

    async def send() -> None:
        nonlocal sent
        sent += 1
        raise OSError("away")

    notifier = Notifier(send, pause=0)
    with structlog.testing.capture_logs() as lines:
        notifier.start()
        for _ in range(3):
            notifier.wake()
            await settle()
        await notifier.close()
    assert (sent, notifier.failures) == (3, 3)
    assert [line["log_level"] for line in lines] == ["warning"]


async def test_closing_sends_what_was_asked_for() -> None:
    sender = Sender()
    sender.let.release()
    notifier = Notifier(sender, pause=0)
    notifier.start()
    notifier.wake()
    await notifier.close()
    assert sender.begun == 1


async def test_closing_gives_up_what_hangs() -> None:
    sender = Sender()
    notifier = Notifier(sender, pause=0)
    notifier.start()
    notifier.wake()
    await sender.began.wait()
    async with asyncio.timeout(3):
        await notifier.close()


async def test_wakes_in_the_pause_after_a_notification_cause_one_more_at_its_end() -> None:
    sent: list[float] = []
    loop = asyncio.get_running_loop()

    async def send() -> None:
        sent.append(loop.time())

    notifier = Notifier(send, pause=0.05)
    notifier.start()
    notifier.wake()
    await settle()
    for _ in range(100):
        notifier.wake()
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while len(sent) < 2:
            await asyncio.sleep(0.01)
    assert sent[1] - sent[0] >= 0.04
    await notifier.close()
    assert len(sent) == 2
