"""Every setting of every process: grouped, frozen, read once, by ``load_settings``."""

from settings.load import SettingsError, load_settings
from settings.model import (
    ApiSettings,
    DatabaseSettings,
    FlowerSettings,
    LogLevel,
    LogSettings,
    PipelineSettings,
    RedisSettings,
    RelaySettings,
    RetentionSettings,
    Settings,
    SloSettings,
    TelemetrySettings,
    WorkerSettings,
)
from settings.reference import SettingReference, setting_references
from settings.version import VERSION

__all__ = [
    "VERSION",
    "ApiSettings",
    "DatabaseSettings",
    "FlowerSettings",
    "LogLevel",
    "LogSettings",
    "PipelineSettings",
    "RedisSettings",
    "RelaySettings",
    "RetentionSettings",
    "SettingReference",
    "Settings",
    "SettingsError",
    "SloSettings",
    "TelemetrySettings",
    "WorkerSettings",
    "load_settings",
    "setting_references",
]
