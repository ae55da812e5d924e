"""The schema's history, and how to move a database along it."""

from migrations.run import MigrationError, SchemaState, downgrade, schema_state, upgrade

__all__ = ["MigrationError", "SchemaState", "downgrade", "schema_state", "upgrade"]
