import typer

from settings import load_settings


def api() -> None:
    """Serve the HTTP API until SIGTERM."""
    from api.serve import serve  # noqa: PLC0415 - each process loads its own side alone

    serve(load_settings())


def worker() -> None:
    """Run pipelines on a Celery worker until SIGTERM."""
    from worker.main import main  # noqa: PLC0415 - as above

    main(load_settings())


def relay() -> None:
    """Publish what is due and recover what was left behind, until SIGTERM."""
    from worker.relay import main  # noqa: PLC0415 - as above

    main(load_settings())


def flower() -> None:
    """Serve Flower, Celery's own view, behind a name and a password."""
    from worker.flower import main  # noqa: PLC0415 - as above

    main(load_settings())


def migrate() -> None:
    """Bring the database's schema to this release; any number may do so at once."""
    from migrations import upgrade  # noqa: PLC0415 - as above
    from throughline.cli.database import reachable  # noqa: PLC0415 - as above

    settings = load_settings()
    with reachable(settings.database):
        upgrade(settings.database)
    typer.echo("the schema is up to date")


def register(app: typer.Typer) -> None:
    """Add the processes' commands."""
    for command in (api, worker, relay, flower, migrate):
        app.command()(command)
