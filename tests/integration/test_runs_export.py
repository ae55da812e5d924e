"""A production run as a test: the file is run by pytest as its user would, in a process of its own."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from events import Event, Permanent, Transient, new_id
from observability import logs
from observability.secret_names import HIDDEN
from pipelines.testing import event
from settings import DatabaseSettings
from storage import cancels
from storage.engine import create_engine, transaction
from tests.support import desk, shop
from tests.support.produced import Produced
from throughline.cli.main import app

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "tests" / "support" / "shop.py"


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(DatabaseSettings.model_validate({"url": database_url}), application="test")
    yield engine
    await engine.dispose()


@pytest.fixture
def produced(engine: AsyncEngine) -> Produced:
    shop.busy.clear()
    return Produced(engine)


Export = Callable[..., Any]


@pytest.fixture
def export(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Export]:
    """Runs ``throughline runs export`` on the test's database, in a thread: it has a loop of its own."""
    monkeypatch.setattr(logs, "configure_logging", lambda settings, **_: HIDDEN.set(settings.redact))
    monkeypatch.setenv("THROUGHLINE_DATABASE_URL", database_url)
    monkeypatch.setenv("THROUGHLINE_PIPELINES_MODULES", '["tests.support.shop", "tests.support.desk"]')

    async def run(*arguments: object) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["runs", "export", *map(str, arguments)])

    yield run
    HIDDEN.set([])


def order(cents: int, **more: Any) -> Event:
    customer = {"email": "ada@example.com", "api_token": "s3cr3t-of-ada"}
    return event("shop.order", {"order_id": "A7", "cents": cents, "customer": customer, **more}, subject="A7")


async def pytest_of(path: Path, checkout: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a file's tests as in a checkout of the user's, without this project's settings and database."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("THROUGHLINE_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(path.parent), str(path)]
    return await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=path.parent,
        env=own | {"PYTHONPATH": f"{checkout}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )


def changed_checkout(folder: Path, old: str, new: str) -> Path:
    """A checkout in which the flow is another."""
    source = SHOP.read_text()
    assert old in source
    (folder / "tests" / "support").mkdir(parents=True)
    (folder / "tests" / "support" / "shop.py").write_text(source.replace(old, new))
    return folder


async def test_an_exported_run_replays_and_fails_once_the_flow_is_another(
    produced: Produced, export: Export, tmp_path: Path
) -> None:
    shop.busy[:] = [ConnectionError("the bank is busy"), Transient("still busy")]
    (run_id,) = await produced.run(order(250_000), shop.shop_orders)
    path = tmp_path / "exported" / "test_order.py"
    result = await export(run_id, "--output", path)
    assert result.exit_code == 0, result.output
    text = path.read_text()
    assert "from tests.support.shop import shop_orders" in text
    assert 'failure("ConnectionError", "the bank is busy", retried=True)' in text
    assert '{"number": "R-A7", "charged": "2500.00"}' in text
    assert 'result.assert_path("work", "by_price", "charge", "thank")' in text

    passed = await pytest_of(path)
    assert passed.returncode == 0, passed.stdout
    assert "1 passed" in passed.stdout

    other = changed_checkout(tmp_path / "other", "cents > 1000)", "cents > 1_000_000)").resolve()
    failed = await pytest_of(path, other)
    assert failed.returncode == 1, failed.stdout
    assert "ScriptError: 'charge' is scripted, but the run never came to it" in failed.stdout
    reworded = changed_checkout(tmp_path / "reworded", "thank you for", "many thanks for")
    failed = await pytest_of(path, reworded)
    assert failed.returncode == 1, failed.stdout
    assert "many thanks for R-A7" in failed.stdout


async def test_secrets_are_left_out_and_named(
    produced: Produced, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THROUGHLINE_LOG_REDACT", '["customer.email"]')
    (run_id,) = await produced.run(order(250_000, note="see postgresql://ada:pw@db/x"), shop.shop_orders)
    path = tmp_path / "test_secret.py"
    result = await export(str(run_id)[:30], "--output", path)
    text = path.read_text()
    for secret in ("s3cr3t", "ada@example.com", ":pw@"):
        assert secret not in text
    for place in ("data.customer.api_token", "data.customer.email", "data.note"):
        assert place in text.partition("\nfrom ")[0]
        assert place in result.stderr
    passed = await pytest_of(path)
    assert passed.returncode == 0, passed.stdout


async def test_large_data_stands_beside_the_test(produced: Produced, export: Export, tmp_path: Path) -> None:
    (run_id,) = await produced.run(order(5, note="word " * 4_000), shop.shop_orders)
    path = tmp_path / "test_large.py"
    result = await export(run_id, "--output", path)
    assert result.stdout.splitlines() == [str(path), str(tmp_path / "test_large.json")]
    assert len(path.read_text()) < 2_000
    passed = await pytest_of(path)
    assert passed.returncode == 0, passed.stdout
    printed = await export(run_id)
    assert "word word" in printed.stdout, "there is no file that it could stand in"
    compile(printed.stdout, "printed", "exec")


@pytest.mark.parametrize(
    ("cents", "errors", "ended"),
    [
        (250_000, [Permanent("card refused")], 'kind="error", node="charge", error="Permanent"'),
        (250_000, [ConnectionError("a")] * 3, 'kind="error", node="charge", error="ConnectionError"'),
        (-1, [], 'kind="error", node="work", error="Permanent"'),
    ],
)
async def test_a_failed_run_fails_again(
    produced: Produced, export: Export, tmp_path: Path, cents: int, errors: list[BaseException], ended: str
) -> None:
    shop.busy[:] = errors
    (run_id,) = await produced.run(order(cents), shop.shop_orders)
    path = tmp_path / "test_failed.py"
    await export(run_id, "--output", path)
    assert f"result.assert_failed({ended})" in path.read_text()
    passed = await pytest_of(path)
    assert passed.returncode == 0, passed.stdout


@pytest.mark.parametrize("answered", [True, False])
async def test_a_run_that_waited_is_replayed_with_what_came(
    produced: Produced, export: Export, tmp_path: Path, *, answered: bool
) -> None:
    if answered:
        produced.arriving.append(event("desk.answered", {"ticket_id": "7", "text": "thanks", "password": "x"}))
    (run_id,) = await produced.run(event("desk.opened", {"ticket_id": "7"}), desk.DESK)
    path = tmp_path / "test_waited.py"
    result = await export(run_id, "--output", path)
    assert result.exit_code == 0, result.output
    text = path.read_text()
    assert ("arriving=ARRIVING" in text) is answered
    assert ("arriving.desk.answered.password" in result.stderr) is answered
    passed = await pytest_of(path)
    # what the last node says holds the time of day, which is that of the test's clock
    assert passed.returncode == 1, passed.stdout
    assert "result.assert_succeeded()" in passed.stdout
    path.write_text(text.replace("    assert {name", "    # assert {name"))
    passed = await pytest_of(path)
    assert passed.returncode == 0, passed.stdout


async def test_a_run_of_many_parts_is_replayed(produced: Produced, export: Export, tmp_path: Path) -> None:
    (run_id,) = await produced.run(event("desk.opened", {"ticket_id": "7", "pages": ["a", "bb"]}), desk.WIDE)
    path = tmp_path / "test_wide.py"
    result = await export(run_id, "--output", path)
    assert result.exit_code == 0, result.output
    assert '"ask.look", any_order=True)' in path.read_text()
    passed = await pytest_of(path)
    assert passed.returncode == 0, passed.stdout


async def test_data_that_the_schema_refuses_is_a_failure_that_replays(
    produced: Produced, export: Export, tmp_path: Path
) -> None:
    (run_id,) = await produced.run(event("shop.order", {"odd": [1.5, None, "\u2028'\"\\"]}), shop.shop_orders)
    path = tmp_path / "test_invalid.py"
    await export(run_id, "--output", path)
    assert 'kind="invalid_event"' in path.read_text()
    passed = await pytest_of(path)
    assert passed.returncode == 0, passed.stdout


async def test_what_can_not_be_exported_is_one_line(
    produced: Produced, export: Export, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def said(wanted: object) -> str:
        result = await export(wanted)
        assert result.exit_code != 0
        assert isinstance(result.exception, Exception)
        return str(result.exception)

    (queued,) = await produced.store(order(5), shop.shop_orders)
    assert await said(queued) == f"run {queued} has not ended: it is queued"
    async with transaction(engine) as connection:
        await cancels.request_cancel(connection, tenant="default", run_ids=[queued], reason="not wanted")
    assert await said(queued) == f"run {queued} was cancelled, which no test of its pipeline can show"
    unknown = new_id()
    assert await said(unknown) == f"no run has the id {unknown}"
    assert await said("xyz") == "'xyz' is no id of a run, nor the beginning of one"
    (ended,) = await produced.run(order(5), shop.shop_orders)
    monkeypatch.setenv("THROUGHLINE_PIPELINES_MODULES", "[]")
    assert (await said(ended)).startswith(f"run {ended} is of pipeline 'shop_orders', which is not in the code here")
