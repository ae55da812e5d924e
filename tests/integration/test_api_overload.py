"""More than can be stored: what is taken is stored in time, the rest is told at once to come back."""

import asyncio

from tests.support.api import ANY, client_of, make_app
from tests.support.tcp_proxy import Mode, tcp_proxy


async def test_while_postgresql_stands_still_nobody_else_is_kept_waiting(database_url: str) -> None:
    async with tcp_proxy(database_url) as proxy:
        app = make_app(proxy.url, flushers=1, shed_after=0.3)
        async with app.router.lifespan_context(app), client_of(app) as client:
            commits = app.state.services.commits
            assert (await client.post("/events", json=ANY)).status_code == 202
            proxy.switch(Mode.SWALLOW)
            held = asyncio.create_task(client.post("/events", json=ANY))
            async with asyncio.timeout(5):
                while not commits.is_overloaded():
                    await asyncio.sleep(0.01)
            answers = await asyncio.gather(*(client.post("/events", json=ANY) for _ in range(50)))
            assert not held.done()
            assert commits.waiting == 0
            assert {answer.status_code for answer in answers} == {503}
            assert {answer.json()["type"] for answer in answers} == {"/problems/overloaded"}
            assert (await held).status_code == 503
            proxy.switch(Mode.PASS)
            async with asyncio.timeout(10):
                while (await client.post("/events", json=ANY)).status_code != 202:
                    await asyncio.sleep(0.05)
