from observability.logs import configure_logging
from settings import Settings
from worker.app import create_celery
from worker.identity import node_name
from worker.lifecycle import Lifecycle


def main(settings: Settings) -> None:
    """Run a Celery worker in this process until it is told to stop.

    Gossip and mingling are off: they are talk among workers over Redis, and what workers must agree on is in
    PostgreSQL. Heartbeats stay on, for Flower.

    Raises:
        PipelineError: a pipeline is not well made.
        MetricsPortError: the port for /metrics is taken.
        SystemExit: Celery ended with a fault; its exit code.

    """
    configure_logging(settings.log, service="worker")
    app = create_celery(settings)
    Lifecycle(app, settings).install()
    worker = app.Worker(
        hostname=node_name(),
        loglevel=settings.log.level,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
    )
    worker.start()
    if worker.exitcode:
        raise SystemExit(worker.exitcode)
