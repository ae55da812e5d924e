import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from events import ThroughlineError
from throughline.cli.database import data_hint
from throughline.cli.main import app
from throughline.embedded import EmbeddedPostgres, free_port, running_postgres_url
from throughline.errors import FolderInUse, FolderUnusable, ServiceFailed


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def stopped(postgres: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    postgres.stop()
    yield postgres
    postgres.start()


def test_commits_are_durable_and_text_is_utf_8(postgres: EmbeddedPostgres) -> None:
    shown = postgres.psql("SHOW fsync; SHOW synchronous_commit; SHOW full_page_writes; SHOW server_encoding;")
    assert shown.splitlines() == ["on", "on", "on", "UTF8"]


def test_who_has_the_folder_finds_the_server_that_runs_there(tmp_path: Path) -> None:
    with pytest.raises(FolderUnusable, match="holds no PostgreSQL of a throughline up"):
        running_postgres_url(tmp_path)
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        assert running_postgres_url(tmp_path) == server.url
        told = CliRunner().invoke(app, ["trace", "01", "--data", str(tmp_path)]).exception
        assert isinstance(told, ThroughlineError)
        assert re.fullmatch(r'PostgreSQL at \S+: .*relation "events" does not exist.*', str(told))
        pid_file = (tmp_path / "postgres" / "cluster" / "postmaster.pid").read_text()
    for left in (None, pid_file):
        if left:
            (tmp_path / "postgres" / "cluster" / "postmaster.pid").write_text(left)
        for command in (["trace", "01"], ["top", "--once"], ["audit"], ["doctor"]):
            told = CliRunner().invoke(app, [*command, "--data", str(tmp_path)]).exception
            assert isinstance(told, FolderUnusable)
            assert str(told).endswith(f"start it with throughline up --data {tmp_path}, and look while it is up")


def test_who_does_not_say_where_to_look_is_told_of_the_stack_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THROUGHLINE_DATABASE_URL", raising=False)
    assert data_hint() == ""
    (tmp_path / ".throughline" / "postgres").mkdir(parents=True)
    assert data_hint().endswith("give --data .throughline")
    monkeypatch.setenv("THROUGHLINE_DATABASE_URL", f"postgresql://a:b@127.0.0.1:{free_port()}/none")
    assert data_hint() == ""


def test_a_wrong_password_is_refused(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmbeddedPostgres, "password", "wrong")
    with pytest.raises(ServiceFailed, match="password authentication failed"):
        postgres.psql("SELECT 1")


def test_variables_of_other_servers_are_not_minded(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c fsync=nonsense")
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    postgres.restart()
    assert postgres.psql("SELECT 1") == "1"


def test_what_was_committed_is_there_after_kill_9(postgres: EmbeddedPostgres) -> None:
    postgres.psql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (42);")
    postgres.kill()
    postgres.start()
    assert postgres.psql("SELECT n FROM kept") == "42"


def test_the_pid_file_of_a_dead_server_whose_pid_is_used_again_is_no_hindrance(stopped: EmbeddedPostgres) -> None:
    pid_file = stopped.working_folder / "postmaster.pid"
    pid_file.write_text(f"{psutil.Process().ppid()}\n{stopped.working_folder}\n0\n{stopped.port}\n\n127.0.0.1\n\n")
    stopped.start()
    assert stopped.psql("SELECT 1") == "1"


def test_a_server_left_behind_is_refused_with_its_pid_and_not_touched(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("throughline.embedded.server._LEFTOVER_WAIT", 0.0)
    postgres._lock.release()  # as the death of its session would
    with pytest.raises(FolderInUse, match=f"kill -INT {postgres.pid}"):
        EmbeddedPostgres(postgres.data_dir).start()
    assert postgres.psql("SELECT 1") == "1"
    postgres._lock.acquire()


def test_another_major_versions_data_is_refused_with_the_mend(stopped: EmbeddedPostgres) -> None:
    version = stopped.working_folder / "PG_VERSION"
    ours = version.read_text()
    version.write_text("9\n")
    with pytest.raises(FolderUnusable, match=r"PostgreSQL 9, installed is \d+: .*move .* away"):
        stopped.start()
    version.write_text(ours)


def test_a_lost_password_is_told_before_the_start(stopped: EmbeddedPostgres) -> None:
    file = stopped.data_dir / "password"
    kept = file.rename(stopped.data_dir / "kept")
    with pytest.raises(FolderUnusable, match="password can't be read"):
        stopped.start()
    kept.rename(file)


def test_a_cut_off_initdb_leaves_nothing_that_stops_the_next(tmp_path: Path) -> None:
    draft = tmp_path / "cluster.new"
    draft.mkdir()
    (draft / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(tmp_path) as server:
        assert server.psql("SELECT current_database(), current_user") == "throughline|throughline"
    assert not draft.exists()


def test_a_setting_that_is_wrong_is_reported_in_the_servers_words(stopped: EmbeddedPostgres) -> None:
    other = EmbeddedPostgres(stopped.data_dir, settings={"fsync": "perhaps"})
    with pytest.raises(ServiceFailed, match=r'postgres exited with code 1 [\s\S]*"fsync"'):
        other.start()


def test_a_path_too_long_for_a_socket_is_no_hindrance(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / ("long" * 30)) as server:
        assert server.psql("SHOW unix_socket_directories") == ""
