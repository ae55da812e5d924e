from concurrent.futures import ThreadPoolExecutor

from settings import Settings
from worker.app import create_celery
from worker.transport import Transport


def test_a_read_from_pubsub_ends_though_nothing_comes(redis_url: str) -> None:
    app = create_celery(Settings.model_validate({"redis": {"url": redis_url}}))
    with app.connection_for_read() as connection, ThreadPoolExecutor(1) as thread:
        channel = connection.channel()
        assert isinstance(connection.transport, Transport)
        channel.subclient.subscribe("anything")
        try:
            assert not thread.submit(channel._receive).result(10)
            assert not thread.submit(channel._receive).result(10)
        finally:
            channel.subclient.connection.disconnect()
