import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.servers import ServerProcess, Servers, ServersError

os.environ.pop("COLUMNS", None)  # xdist tells its workers a width, which what is piped would keep to

_BACKEND = pytest.StashKey[str]()
_PROCESS = pytest.StashKey[ServerProcess]()
_SERVERS = pytest.StashKey[Servers]()


def pytest_configure(config: pytest.Config) -> None:
    """The pytest process that no other started owns the test servers; xdist's workers get their address from it."""
    worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker_input is not None:
        config.stash[_SERVERS] = Servers(address=worker_input["servers"], worker=worker_input["workerid"])
        return
    process = ServerProcess()
    servers = Servers(address=process.address, worker="main")
    try:
        config.stash[_BACKEND] = servers.backend()
    except ServersError as error:
        process.stop()
        raise pytest.UsageError(str(error).splitlines()[-1]) from error
    config.stash[_PROCESS] = process
    config.stash[_SERVERS] = servers


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker, about to start, where the servers are."""
    node.workerinput["servers"] = node.config.stash[_PROCESS].address


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say which servers the tests run against, and why these."""
    return f"test servers: {config.stash[_BACKEND]}" if _BACKEND in config.stash else None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers, also after Ctrl-C."""
    if _PROCESS in config.stash:
        config.stash[_PROCESS].stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Any:
    """With TEST_FORBID_SKIPS=1 a test that skips has failed: what CI doesn't run, it must not call green."""
    report: pytest.TestReport = yield
    if not hasattr(report, "wasxfail"):
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Any:
    """The same for a module that skips as a whole."""
    report: pytest.CollectReport = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and os.environ.get("TEST_FORBID_SKIPS") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"TEST_FORBID_SKIPS=1, but: {reason}"


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Servers:
    """The test servers; none is started until a test asks for it."""
    return pytestconfig.stash[_SERVERS]


@pytest.fixture
def database_url(servers: Servers) -> Iterator[str]:
    """A migrated PostgreSQL database of the test's own."""
    url = servers.create_database(migrated=True)
    yield url
    servers.drop_database(url)


@pytest.fixture
def empty_database_url(servers: Servers) -> Iterator[str]:
    """A PostgreSQL database of the test's own with nothing in it."""
    url = servers.create_database(migrated=False)
    yield url
    servers.drop_database(url)


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """A Redis with nothing in it, which no other xdist worker uses."""
    return servers.redis()
