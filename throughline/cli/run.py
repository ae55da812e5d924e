import typer

from settings import load_settings


def api() -> None:
    """Serve the HTTP API until SIGTERM."""
    from api.serve import serve

    serve(load_settings())


def worker() -> None:
    """Run pipelines on a Celery worker until SIGTERM."""
    from worker.main import main

    main(load_settings())


def relay() -> None:
    """Publish what is due and recover what was left behind, until SIGTERM."""
    from worker.relay import main

    main(load_settings())


def flower() -> None:
    """Serve Flower, Celery's own view, behind a name and a password."""
    from worker.flower import main

    main(load_settings())


def migrate() -> None:
    """Bring the database's schema to this release; any number may do so at once."""
    from migrations import upgrade
    from throughline.cli.database import reachable

    settings = load_settings()
    with reachable(settings.database):
        upgrade(settings.database)
    typer.echo("the schema is up to date")


def register(app: typer.Typer) -> None:
    """Add the processes' commands."""
    for command in (api, worker, relay, flower, migrate):
        app.command()(command)
