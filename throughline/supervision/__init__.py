"""Starting, watching and stopping child processes, so that none is left behind."""

from throughline.supervision.health import http_ok, port_open
from throughline.supervision.progress import Progress, Reporter, Step
from throughline.supervision.service import ProcessService, Service
from throughline.supervision.signals import StopRequested
from throughline.supervision.supervisor import Supervisor
from throughline.supervision.watched import OnExit

__all__ = [
    "OnExit",
    "ProcessService",
    "Progress",
    "Reporter",
    "Service",
    "Step",
    "StopRequested",
    "Supervisor",
    "http_ok",
    "port_open",
]
