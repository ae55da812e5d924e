"""What the code makes of the events of past runs, beside what production stored."""

import asyncio
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from events import Event, Permanent
from observability import logs
from observability.secret_names import HIDDEN
from pipelines import Pipeline, PipelineRegistry
from pipelines.flows import issue_triage
from pipelines.testing import event
from settings import DatabaseSettings
from storage import cancels
from storage.engine import create_engine, transaction
from tests.support import desk, shop
from tests.support.produced import Produced
from throughline.cli.main import app

ROOT = Path(__file__).parents[2]
BODIES = sorted((ROOT.parent / "shared" / "data" / "github-webhooks").glob("*/*.json"))
DESK = ROOT / "tests" / "support" / "desk.py"
SHOP = ROOT / "tests" / "support" / "shop.py"
TRIAGE = ROOT / "pipelines" / "flows" / "issue_triage.py"


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(DatabaseSettings.model_validate({"url": database_url}), application="test")
    yield engine
    await engine.dispose()


@pytest.fixture
def produced(engine: AsyncEngine) -> Produced:
    shop.busy.clear()
    return Produced(engine)


Backtest = Callable[..., Any]


@pytest.fixture
def backtest(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Backtest]:
    """Runs ``throughline backtest`` over a module of pipelines, in a thread: it has a loop of its own."""
    monkeypatch.setattr(logs, "configure_logging", lambda settings, **_: HIDDEN.set(settings.redact))
    monkeypatch.setenv("THROUGHLINE_DATABASE_URL", database_url)
    monkeypatch.setenv("THROUGHLINE_PIPELINES_BUILTIN", "false")
    monkeypatch.syspath_prepend(tmp_path)

    async def run(module: str, *arguments: object) -> Result:
        monkeypatch.setenv("THROUGHLINE_PIPELINES_MODULES", json.dumps([module]))
        return await asyncio.to_thread(CliRunner().invoke, app, ["backtest", *map(str, arguments)])

    yield run
    HIDDEN.set([])


def changed(source: Path, folder: Path, name: str, *, old: str = "", new: str = "") -> str:
    """Write a copy of a module in which something is another; return its name."""
    before = source.read_text()
    assert old in before
    (folder / f"{name}.py").write_text(before.replace(old, new) if old else before)
    sys.modules.pop(name, None)
    importlib.invalidate_caches()
    return name


def order(number: int, cents: int) -> Event:
    customer = {"email": "ada@example.com", "api_token": "s3cr3t"}
    return event("shop.order", {"order_id": f"A{number}", "cents": cents, "customer": customer}, id=str(number))


async def runs_of(backtest: Backtest, module: str, *arguments: object) -> dict[str, dict[str, Any]]:
    result = await backtest(module, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return {run["run_id"]: run for run in json.loads(result.stdout)["runs"]}


async def test_the_same_code_makes_the_same_of_past_events_and_calls_nobody(
    produced: Produced, backtest: Backtest, engine: AsyncEngine
) -> None:
    shop.busy[:] = [ConnectionError("busy"), Permanent("card refused")]
    for number, cents in enumerate((250_000, 2_000, 5, -1)):
        await produced.run(order(number, cents), shop.shop_orders)
    called = list(shop.called)
    result = await backtest("tests.support.shop", "shop_orders", "--fail-on-difference")
    assert result.exit_code == 0, result.output
    assert "4 runs compared: 0 differ, 4 are the same" in result.output
    assert shop.called == called
    assert "s3cr3t" not in result.output
    async with engine.connect() as connection:
        counts = [
            (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()
            for table in ("events", "runs", "attempts")
        ]
    assert counts == [4, 4, 5], "nothing was stored"


async def test_what_differs_is_told_by_its_place(produced: Produced, backtest: Backtest, tmp_path: Path) -> None:
    (large,) = await produced.run(order(1, 250_000), shop.shop_orders)
    (small,) = await produced.run(order(2, 500), shop.shop_orders)
    (same,) = await produced.run(order(3, 5), shop.shop_orders)
    lower = changed(SHOP, tmp_path, "lower_limit", old="cents > 1000)", new="cents > 100)")
    found = await runs_of(backtest, lower, "shop_orders")
    assert list(found) == [str(same), str(small), str(large)], "newest first"
    assert found[str(large)]["differences"] == found[str(same)]["differences"] == []
    assert found[str(small)]["not_run"] == "charge: not run: no stored output"
    assert found[str(small)]["code"] == {
        "outcome": "not run",
        "path": ["work", "by_price", "charge"],
        "seconds": found[str(small)]["code"]["seconds"],
    }
    assert {one["path"] for one in found[str(small)]["differences"]} == {
        "outcome",
        "path",
        "outputs.work.large",
        "outputs.by_price",
    }
    result = await backtest(lower, "shop_orders", "--changed-only", "--fail-on-difference")
    assert result.exit_code == 1
    assert str(small) in result.output
    assert str(large) not in result.output
    assert "charge: not run: no stored output" in result.output
    assert "path: -ignore +charge" in result.output
    assert 'outputs.by_price: "ignore" -> "charge"' in result.output


async def test_a_changed_output_and_a_changed_end_are_told(
    produced: Produced, backtest: Backtest, tmp_path: Path
) -> None:
    (good,) = await produced.run(order(1, 250_000), shop.shop_orders)
    (bad,) = await produced.run(order(2, -1), shop.shop_orders)
    other = changed(SHOP, tmp_path, "reworded", old="thank you for", new="many thanks for")
    found = await runs_of(backtest, other, "shop_orders")
    assert found[str(good)]["differences"] == [
        {"path": "outputs.thank", "production": "thank you for R-A1", "code": "many thanks for R-A1"}
    ]
    mended = changed(SHOP, tmp_path, "mended", old="ctx.data.cents < 0", new="ctx.data.cents < -5")
    found = await runs_of(backtest, mended, "shop_orders")
    assert found[str(bad)]["differences"] == [
        {"path": "outcome", "production": "failed: error, Permanent in work", "code": "succeeded"},
        {"path": "path", "production": ["work"], "code": ["work", "by_price", "ignore"]},
    ]


async def test_waits_end_as_they_did_and_inner_nodes_are_compared(
    produced: Produced, backtest: Backtest, tmp_path: Path
) -> None:
    opened = {"ticket_id": "7", "pages": ["a", "bb"]}
    await produced.run(event("desk.opened", opened), desk.DESK)
    produced.arriving.append(event("desk.answered", {"ticket_id": "7", "text": "thanks"}))
    (answered,) = await produced.run(event("desk.opened", opened), desk.DESK)
    (wide,) = await produced.run(event("desk.opened", opened), desk.WIDE)
    other = changed(DESK, tmp_path, "other_desk", old="reply.text}", new="reply.text.upper()}")
    found = await runs_of(backtest, other, "desk")
    assert len(found) == 2
    places = {one["path"]: one["code"] for one in found[str(answered)]["differences"]}
    assert places.keys() == {"outputs.close"}
    assert places["outputs.close"].startswith("THANKS at ")
    longer = changed(DESK, tmp_path, "longer_desk", old="len(item)", new="len(item) * 10")
    found = await runs_of(backtest, longer, "wide")
    assert [(one["path"], one["code"]) for one in found[str(wide)]["differences"]] == [
        ("outputs.lengths.0", 10),
        ("outputs.lengths.1", 20),
        ("outputs.ask", "looked for 7/30"),
        ("outputs.ask.look", "looked for 7/30"),
    ]
    sooner = changed(DESK, tmp_path, "sooner_desk", old='type = "desk.answered"', new='type = "desk.called"')
    found = await runs_of(backtest, sooner, "desk")
    assert found[str(answered)]["not_run"] == "reply: not run: no stored event that it waits for"


async def test_secrets_in_what_differs_are_hidden(
    produced: Produced, backtest: Backtest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THROUGHLINE_LOG_REDACT", '["charged"]')
    await produced.run(order(1, 250_000), shop.shop_orders)
    other = changed(SHOP, tmp_path, "pure_charge", old="effects = True", new="effects = False")
    other = changed(tmp_path / f"{other}.py", tmp_path, "charges_more", old="charged=", new='charged="x" + ')
    (run,) = (await runs_of(backtest, other, "shop_orders")).values()
    assert run["differences"] == [{"path": "outputs.charge.charged", "production": "[redacted]", "code": "[redacted]"}]
    assert "2500.00" not in (await backtest(other, "shop_orders")).output


async def test_what_nodes_log_goes_to_stderr(produced: Produced, database_url: str, tmp_path: Path) -> None:
    await produced.run(order(1, 5), shop.shop_orders)
    old, new = "async def run(self, _: TaskContext[Order]) -> None:", "async def run(self, _: object) -> None:"
    module = changed(
        SHOP, tmp_path, "telling", old=f"{old}\n        return None", new=f"{new}\n        log.info('seen')"
    )
    source = tmp_path / f"{module}.py"
    source.write_text(f"from observability.logs import get_logger\n{source.read_text()}\nlog = get_logger(__name__)\n")
    own = {key: value for key, value in os.environ.items() if not key.startswith("THROUGHLINE_")}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "throughline", "backtest", "shop_orders", "--json"],
        env=own
        | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
            "THROUGHLINE_DATABASE_URL": database_url,
            "THROUGHLINE_PIPELINES_MODULES": json.dumps([module]),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"]["compared"] == 1
    assert '"event": "seen"' in done.stderr or '"event":"seen"' in done.stderr


async def test_which_runs_are_taken_can_be_chosen(produced: Produced, backtest: Backtest, engine: AsyncEngine) -> None:
    runs = [(await produced.run(order(number, 5), shop.shop_orders))[0] for number in range(45)]
    (queued,) = await produced.store(order(50, 5), shop.shop_orders)
    (cancelled,) = await produced.store(order(51, 5), shop.shop_orders)
    async with transaction(engine) as connection:
        await cancels.request_cancel(connection, tenant="default", run_ids=[cancelled], reason="not wanted")
    module = "tests.support.shop"
    found = await runs_of(backtest, module, "shop_orders", "--last", 30, "--jobs", 2)
    assert list(found) == [str(run_id) for run_id in reversed(runs[15:])]
    assert str(queued) not in found
    result = await backtest(module, "shop_orders", "--since", "1h", "--json")
    summary = json.loads(result.stdout)["summary"]
    assert (summary["compared"], summary["left_out"]) == (45, {"cancelled": 1})
    assert len(await runs_of(backtest, module, "shop_orders", "--type", "shop.order")) == 45
    for nothing in (("--since", "2999-01-01"), ("--type", "shop.other")):
        result = await backtest(module, "shop_orders", *nothing)
        assert str(result.exception) == "no ended run of 'shop_orders' was found to compare with"
    result = await backtest(module, "shop_order")
    assert "has no pipeline 'shop_order'" in str(result.exception)
    assert "near it: shop_orders" in str(result.exception)
    result = await backtest(module, "shop_orders", "--since", "yesterday")
    assert "--since is 'yesterday'; give a time" in str(result.exception)


WORD = "accidently"


def category(data: Any, rules: tuple[tuple[str, tuple[str, ...]], ...]) -> str:
    """What a delivery is about, told anew: the first rule one of whose words stands in the text."""
    if data["action"] not in {"opened", "edited", "reopened"}:
        return "none"
    said = f"{data['issue']['title']}\n{data['issue'].get('body') or ''}".lower()
    for name, words in rules:
        if any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", said) for word in words):
            return str(name)
    return "other"


@pytest.mark.skipif(not BODIES, reason="no GitHub deliveries in ../shared/data/github-webhooks")
async def test_a_changed_rule_shows_in_just_the_deliveries_that_it_decides(
    produced: Produced, backtest: Backtest, tmp_path: Path
) -> None:
    registry = PipelineRegistry.load()
    expected, issues = set[str](), 0
    changed_rules = tuple(
        (name, (*words, WORD)) if name == "question" else (name, words) for name, words in issue_triage.RULES
    )
    for path in BODIES:
        came = event(f"github.{path.parent.name}", json.loads(path.read_bytes()), id=f"{path.parent.name}/{path.name}")
        routes: tuple[Pipeline[Any], ...] = registry.route(came.type)
        run_ids = await produced.run(came, *routes)
        for run_id, pipeline in zip(run_ids, routes, strict=True):
            issues += pipeline.name == "issue_triage"
            if pipeline.name == "issue_triage" and category(came.data, issue_triage.RULES) != category(
                came.data, changed_rules
            ):
                expected.add(str(run_id))
    assert 0 < len(expected) < issues

    module = changed(TRIAGE, tmp_path, "changed_triage", old='"what is")', new=f'"what is", "{WORD}")')
    found = await runs_of(backtest, module, "issue_triage", "--last", 10_000)
    assert len(found) == issues
    differing = {run_id: run for run_id, run in found.items() if run["differences"]}
    assert set(differing) == expected
    for run in differing.values():
        places = {one["path"]: (one.get("production"), one.get("code")) for one in run["differences"]}
        assert places["outputs.classify.category"] == ("documentation", "question")
        assert places["outputs.route_issue"] == ("label_issue", "answer")
    unchanged = changed(TRIAGE, tmp_path, "unchanged_triage")
    result = await backtest(unchanged, "issue_triage", "--fail-on-difference", "--last", 10_000)
    assert result.exit_code == 0, result.output
    assert f"{issues} runs compared: 0 differ" in result.output
