from alembic.script import ScriptDirectory

from migrations.run import _config
from storage.schema import SCHEMA_REVISION


def test_readiness_asks_for_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(_config()).get_current_head() == SCHEMA_REVISION
