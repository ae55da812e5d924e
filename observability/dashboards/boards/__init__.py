"""The boards themselves, one a module."""

from typing import Final

from observability.dashboards.board import Board
from observability.dashboards.boards.api import API
from observability.dashboards.boards.pipelines import PIPELINES
from observability.dashboards.boards.queues import QUEUES
from observability.dashboards.boards.slo import SLO
from observability.dashboards.boards.stores import STORES
from observability.dashboards.boards.telemetry import TELEMETRY

BOARDS: Final[tuple[Board, ...]] = (SLO, API, QUEUES, PIPELINES, STORES, TELEMETRY)
