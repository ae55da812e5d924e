import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rich.markup import escape

from pipelines import PipelineRegistry
from pipelines.discovery import BUILTIN
from settings import Settings, WorkerSettings
from throughline.cli.output import console
from throughline.embedded import DataFolder, ExternalServer
from throughline.local.pipelines import require_pipelines
from throughline.local.ports import cell_port, metrics_of_workers
from throughline.local.redis import redis_trouble
from throughline.local.reload import Reloader
from throughline.local.stack import LocalStack, StackPlan
from throughline.local.watching import Watch
from throughline.supervision import OnExit, Progress, Step, StopRequested, Supervisor
from throughline.unserved import unserved_queues

_LOOK_EVERY = 0.5
"""Seconds between looks at the source of the pipelines."""

_STYLE = {Step.READY: "green", Step.ENDED: "red", Step.KILLED: "red", Step.RESTARTING: "yellow"}


def show_progress(progress: Progress) -> None:
    """Print what happened to a service, one line each; a report of its end is longer."""
    if progress.step is Step.STOPPING:
        return
    style = _STYLE.get(progress.step, "dim")
    console.print(f"[{style}]  {escape(str(progress))}[/{style}]", soft_wrap=True)


def stay_up(settings: Settings, plan: StackPlan, *, data: Path, reload: bool = True) -> None:
    """Start the stack over the folder ``data``, show where it answers, and keep it up until a stop signal.

    With ``reload``, what runs pipelines is restarted when their source changes.

    Raises:
        PipelineError: a module of pipelines can't be loaded; nothing was started.

    """
    registry = require_pipelines(settings.pipelines)
    watch = Watch((*((BUILTIN,) if settings.pipelines.builtin else ()), *settings.pipelines.modules))
    with DataFolder(data) as folder, Supervisor(on_exit=OnExit.RESTART, report=show_progress) as supervisor:
        stack = LocalStack(settings, plan, folder=folder)
        stack.start(supervisor, say=lambda text: console.print(f"  {text}", style="dim"))
        _show_addresses(stack, folder, workers=plan.workers)
        _warn_of_redis(stack)
        show_unserved(registry, settings.worker)
        console.print("\n  up; Ctrl-C stops everything", style="bold")
        with suppress(StopRequested):
            if reload:
                _reload_forever(_reloader(stack, supervisor, watch), supervisor)
            supervisor.watch()


def _reload_forever(reloader: Reloader, supervisor: Supervisor) -> None:
    try:
        while not supervisor.watch(timeout=_LOOK_EVERY):
            reloader.step()
    finally:
        reloader.stop()


def _reloader(stack: LocalStack, supervisor: Supervisor, watch: Watch) -> Reloader:
    def restart() -> tuple[str, ...]:
        supervisor.restart(*stack.runners)
        return stack.runners

    return Reloader(
        watch,
        check=stack.checker(),
        restart=restart,
        say=lambda text: console.print(f"  {text}", markup=False, soft_wrap=True),
        warn=_warn,
    )


def _show_addresses(stack: LocalStack, folder: DataFolder, *, workers: int) -> None:
    settings = stack.settings
    own = settings.flower.password is None or not os.environ.get("THROUGHLINE_FLOWER_PASSWORD")
    password = f"password in {folder.path / 'flower-password'}" if own else "with the password that you set"
    lines = {
        "API": f"{stack.api_url}/docs",
        "Flower": f"{stack.flower_url} as {settings.flower.user}, {password}",
        "metrics": ", ".join(_metrics(stack, workers=workers)),
        "logs": str(folder.logs),
        "look in": f"{_command()} top --data {shlex.quote(str(folder.path))}, or trace with an event's id",
        "send one": f"{_command()} events send --url {stack.api_url} FILE",
    }
    console.print()
    for name, said in lines.items():
        console.print(f"{name:>9}  {said}", markup=False, soft_wrap=True)


def show_unserved(registry: PipelineRegistry, settings: WorkerSettings) -> None:
    """Warn of each queue of a pipeline that no worker of the stack consumes, one line each."""
    for unserved in unserved_queues(registry, settings):
        _warn(f"{unserved}, so they wait; set {unserved.mend}")


def _warn_of_redis(stack: LocalStack) -> None:
    if not isinstance(stack.redis, ExternalServer):
        return
    trouble = redis_trouble(stack.settings.redis, place=stack.redis.place)
    if trouble:
        _warn(trouble)


def _warn(said: str) -> None:
    console.print(f"  warning: {said}", style="yellow", markup=False, soft_wrap=True)


def _metrics(stack: LocalStack, *, workers: int) -> Iterator[str]:
    """Name each process that serves metrics, and where."""
    yield f"{stack.api_url}/metrics"
    relay, worker = stack.settings.relay, stack.settings.worker
    if relay.metrics_port:
        yield f"relay {_place(relay.metrics_host, relay.metrics_port)}"
    if worker.metrics_port:
        ports = map(str, metrics_of_workers(stack.settings, workers=workers))
        yield f"worker {_place(worker.metrics_host, ' '.join(ports))}"
        yield f"cell {_place(worker.metrics_host, cell_port(stack.settings, workers=workers) + 1)}"
    yield f"flower {stack.flower_url}/metrics"


def _place(host: str, port: int | str) -> str:
    return f":{port}" if host == "127.0.0.1" else f"{host}:{port}"


def _command() -> str:
    """Return what starts the command line in another terminal, where no virtual environment need be active."""
    return "throughline" if shutil.which("throughline") else f"{sys.executable} -m throughline"
