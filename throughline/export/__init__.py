"""Writes a run of the database as a test that replays it."""

from throughline.export.run import Exported, export_run

__all__ = ["Exported", "export_run"]
