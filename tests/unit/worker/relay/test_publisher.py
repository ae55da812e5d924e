import asyncio

from events import new_id
from observability.metrics import null_metrics
from settings import Settings
from storage.records import DueRun
from worker.app import create_celery
from worker.relay.chunking import Outgoing
from worker.relay.publisher import Publisher


class _Broken:
    def __getattr__(self, name: str) -> object:
        raise LookupError(name)


def a_message() -> Outgoing:
    run = DueRun(tenant="default", run_id=new_id(), pipeline="p", queue="default", traceparent=None)
    return Outgoing(tenant="default", pipeline="p", queue="default", runs=(run,))


async def test_whatever_breaks_while_publishing_every_order_is_answered_and_nothing_taken_for_sent() -> None:
    """Redis can't be reached here, and counting that fails too."""
    settings = Settings.model_validate({"redis": {"url": "redis://127.0.0.1:1/0"}})
    publisher = Publisher(create_celery(settings), metrics=null_metrics())
    publisher._metrics = _Broken()  # type: ignore[assignment]  # breaks where nothing is expected to
    async with asyncio.timeout(30):
        for _ in range(2):
            message = a_message()
            delivery = await publisher.send([message])
            assert delivery.unsent == [message]
            assert isinstance(delivery.down, LookupError)
    publisher.close()
