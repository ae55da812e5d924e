import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from throughline.embedded.binaries import postgres_bin
from throughline.embedded.cluster import OWNER, check_cluster, clean_environment, make_cluster, run_program
from throughline.embedded.privileges import ordinary_account
from throughline.embedded.server import EmbeddedServer
from throughline.errors import FolderUnusable, ServiceFailed
from throughline.supervision.guard import LastWish
from throughline.supervision.service import StopSteps

DATABASE = "throughline"
_SOCKET_PATH_MAX = 107

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
    "unix_socket_permissions": "0700",
}
"""For a developer's machine of two cores: full durability, short queries, no planner surprises."""


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL over ``<data_dir>/cluster``, with the database ``throughline`` and its owner of the same name."""

    name = "postgres"
    program = "postgres"
    stop_steps: ClassVar[StopSteps] = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0))
    last_wish = LastWish(signal.SIGINT, 10.0)

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        log_file: Path | None = None,
        port_setting: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the server; ``settings`` go over ``SETTINGS``, the rest is as for every ``EmbeddedServer``."""
        super().__init__(data_dir, port=port, log_file=log_file, port_setting=port_setting)
        self._settings = {**SETTINGS, **(settings or {})}
        self._has_database = False
        self._prefix: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Where clients connect to the database ``throughline``, password included."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Return the URL of another database of this server."""
        return f"postgresql://{OWNER}:{self.password}@127.0.0.1:{self.port}/{database}"

    @property
    def working_folder(self) -> Path:
        """The database cluster."""
        return self.data_dir / "cluster"

    def psql(self, sql: str, *, database: str = DATABASE, timeout: float = 30.0) -> str:
        """Run SQL through psql and return its unaligned rows; for set-up and looks, not for the program's own work.

        Raises:
            ServiceFailed: it couldn't connect, or a statement failed; with psql's own words.

        """
        command = [str(postgres_bin() / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"]
        env = clean_environment() | {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": OWNER,
            "PGPASSWORD": self.password,
            "PGDATABASE": database,
            "PGCONNECT_TIMEOUT": "5",
        }
        try:
            return run_program(command, env=env, stdin=sql, timeout=timeout).strip()
        except subprocess.CalledProcessError as error:
            raise ServiceFailed(f"{self.name}: {error.stdout}") from None
        except subprocess.TimeoutExpired:
            raise ServiceFailed(f"{self.name}: no answer within {timeout:g} s") from None

    def ready(self) -> bool:
        """Say whether it accepts connections; the first time also log in and make the database."""
        if self._status_line(7) != "ready":
            return False
        if not self._has_database:
            self.psql(
                f"SELECT 'CREATE DATABASE {DATABASE}' WHERE NOT EXISTS "  # noqa: S608 - a constant
                f"(SELECT FROM pg_database WHERE datname = '{DATABASE}') \\gexec",
                database="postgres",
            )
            self._has_database = True
        return True

    def _prepare(self) -> None:
        bin_dir, cluster = postgres_bin(), self.working_folder
        account = ordinary_account(bin_dir / "postgres", data=cluster)
        self._prefix = account.prefix
        if (cluster / "PG_VERSION").exists():
            check_cluster(cluster, bin_dir=bin_dir, account=account)
        else:
            self._has_database = False
            self._make_password()
            make_cluster(cluster, bin_dir=bin_dir, account=account, password_file=self.data_dir / "password")
        self.password  # noqa: B018 - a lost password is told now, not as a failed login later
        self._forget_dead_postmaster()

    def _spawn(self, port: int) -> None:
        settings = self._settings | {"port": str(port), "unix_socket_directories": self._socket_folder(port)}
        options = [option for key, value in settings.items() for option in ("-c", f"{key}={value}")]
        self._process.spawn(
            (str(postgres_bin() / "postgres"), "-D", str(self.working_folder), *options),
            become=self._prefix,
            env=clean_environment(),
            cwd=Path("/"),
        )

    def _listening(self) -> bool:
        return bool(self._status_line(5))

    def _status_line(self, index: int) -> str:
        """Return a line of postmaster.pid, as pg_ctl reads it, or nothing while it isn't our process's."""
        try:
            lines = (self.working_folder / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return ""
        ours = bool(lines) and lines[0] == str(self.pid)
        return lines[index].strip() if ours and len(lines) > index else ""

    def _forget_dead_postmaster(self) -> None:
        """Remove the pid file of a server that was killed.

        We hold the folder's lock and no postgres works in it, so its pid, if it is anybody's, is another program's;
        PostgreSQL itself would only see that the pid is in use (every time, in a container) and refuse to start.
        """
        try:
            (self.working_folder / "postmaster.pid").unlink(missing_ok=True)
        except OSError as error:
            raise FolderUnusable(f"{self.working_folder} can't be written: {error.strerror}") from error

    def _socket_folder(self, port: int) -> str:
        """Return the data folder for the Unix socket, or nowhere if its path is longer than the system allows."""
        socket = self.data_dir / f".s.PGSQL.{port}"
        fits = len(str(socket).encode()) <= _SOCKET_PATH_MAX and not set(str(socket)) & set('," ')
        return str(self.data_dir) if fits else ""
