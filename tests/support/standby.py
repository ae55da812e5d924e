"""A PostgreSQL primary and a standby that streams from it, synchronously: no commit is answered before both have it."""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from throughline.embedded import EmbeddedPostgres
from throughline.embedded.binaries import postgres_bin
from throughline.embedded.cluster import OWNER, clean_environment, run_program
from throughline.embedded.privileges import ordinary_account
from throughline.errors import ServiceFailed


@dataclass(frozen=True, slots=True)
class Pair:
    """The two servers; the standby has the primary's password."""

    primary: EmbeddedPostgres
    standby: EmbeddedPostgres

    def fail(self) -> None:
        """Kill the primary as a power cut would."""
        self.primary.kill()

    def promote(self) -> None:
        """Let the standby take writes; return when it does."""
        self.standby.psql("SELECT pg_promote()")
        _until(self.standby, "SELECT NOT pg_is_in_recovery()")


@contextmanager
def postgres_pair(folder: Path) -> Iterator[Pair]:
    """Run a primary and its synchronous standby; nothing of them stays."""
    pair = Pair(
        EmbeddedPostgres(folder / "primary"),
        EmbeddedPostgres(folder / "standby", settings={"cluster_name": "standby"}),
    )
    with ExitStack() as stack:
        for server in (pair.primary, pair.standby):
            stack.callback(server.release)
            stack.callback(server.kill)
        pair.primary.start()
        _copy(pair.primary, pair.standby.data_dir)
        pair.standby.launch()
        _until(pair.standby, "SELECT pg_is_in_recovery()")
        pair.primary.psql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        pair.primary.psql("SELECT pg_reload_conf()")
        _until(pair.primary, "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
        yield pair


def _copy(primary: EmbeddedPostgres, folder: Path) -> None:
    """Make the standby's folder of a base backup."""
    folder.mkdir(mode=0o700)
    shutil.copy(primary.data_dir / "password", folder / "password")
    account = ordinary_account(postgres_bin() / "postgres", data=primary.working_folder)
    account.own(folder, folder / "password")
    conninfo = f"host=127.0.0.1 port={primary.port} user={OWNER} application_name=standby"
    command = [str(postgres_bin() / "pg_basebackup"), f"--pgdata={folder / 'cluster'}", f"--dbname={conninfo}"]
    run_program(
        [*account.prefix, *command, "--write-recovery-conf", "--checkpoint=fast"],
        env=clean_environment() | {"PGPASSWORD": primary.password},
        timeout=60,
    )


def _until(server: EmbeddedPostgres, question: str, *, within: float = 30.0) -> None:
    """Ask until the answer is yes; a server that comes up refuses at first."""
    deadline = time.monotonic() + within
    last = ""
    while time.monotonic() < deadline:
        try:
            last = server.psql(question)
        except ServiceFailed as error:
            last = str(error)
        if last == "t":
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {within:g} s: {question}; last: {last}")
