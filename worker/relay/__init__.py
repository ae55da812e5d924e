"""The process between PostgreSQL and Redis: it publishes what is due and recovers what was left behind."""

from worker.relay.loop import Relay
from worker.relay.process import main

__all__ = ["Relay", "main"]
