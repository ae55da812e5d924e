import asyncio
from collections.abc import AsyncIterator

import pytest
from typer.testing import CliRunner

from settings import DatabaseSettings
from storage.engine import create_engine
from tests.support.stories import Stories
from throughline.cli.main import app


@pytest.fixture
async def stories(database_url: str) -> AsyncIterator[Stories]:
    engine = create_engine(DatabaseSettings.model_validate({"url": database_url}), application="test")
    yield Stories(engine)
    await engine.dispose()


async def test_a_graph_shows_the_way_that_a_run_took(
    stories: Stories, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THROUGHLINE_DATABASE_URL", database_url)
    await stories.open_worker()
    made = await stories.event("issue_triage")
    await stories.succeed(await stories.claim(made.run_ids[0]), "normalise", "classify")

    def graph(run: object, *more: str) -> tuple[int, str]:
        ended = CliRunner().invoke(app, ["pipelines", "graph", "issue_triage", "--run", str(run), *more])
        return ended.exit_code, ended.output

    code, picture = await asyncio.to_thread(graph, made.run_ids[0], "--format", "svg")
    assert (code, picture.count('class="node succeeded"')) == (0, 2)
    code, text = await asyncio.to_thread(graph, made.run_ids[0])
    assert (code, text.splitlines()[-1]) == (0, "    class n1,n2 succeeded")
    for other in (made.event_id, "nonsense"):
        code, said = await asyncio.to_thread(graph, other)
        assert (code, said) == (1, f"throughline: no run has the id {other}\n")
