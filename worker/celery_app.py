"""The Celery app as ``celery -A worker.celery_app worker`` wants it: reading the settings at import is its purpose."""

from settings import load_settings
from worker.app import create_celery
from worker.lifecycle import Lifecycle

_settings = load_settings()

app = create_celery(_settings)
Lifecycle(app, _settings).install()
