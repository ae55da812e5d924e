import sys
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.working import until, workshop

CELERY = [sys.executable, "-m", "celery", "-A", "worker.celery_app"]


async def test_passwords_are_in_no_output_and_in_no_answer_to_remote_control(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    secrets = {urlsplit(url).password or "" for url in (database_url, redis_url)}
    assert all(len(secret) > 8 for secret in secrets)
    async with workshop(database_url, redis_url, tmp_path) as shop:
        worker = await shop.worker(command=[*CELERY, "worker"], THROUGHLINE_LOG_LEVEL="DEBUG")
        [sent] = await shop.store("steady")
        shop.publish("steady", [sent])
        await shop.ended(sent)

        inspect = shop.celery.control.inspect(timeout=5)
        told = repr([inspect.conf(with_defaults=True), inspect.stats(), inspect.report(), inspect.active_queues()])
        assert "broker_url" in told
        for secret in secrets:
            assert secret not in worker.text
            assert secret not in told


async def test_slip_of_the_pen_in_a_queue_name_ends_the_start(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        worker = shop.start([*CELERY, "worker", "-Q", "defualt"])
        await worker.ended(within=60)

        assert worker.process.returncode != 0
        assert "defualt" in worker.text


async def test_only_json_is_read(database_url: str, redis_url: str, tmp_path: Path) -> None:
    async with workshop(database_url, redis_url, tmp_path) as shop:
        worker = await shop.worker()
        shop.celery.send_task("process_incoming_event", queue="default", serializer="pickle")
        await until(lambda: "ContentDisallowed" in worker.text or "Refusing" in worker.text, what="it is refused")
        [sent] = await shop.store("steady")
        shop.publish("steady", [sent])
        await shop.ended(sent)
