"""Grafana's boards, made from the metrics' catalogue; `json/` holds them as Grafana reads them."""

from observability.dashboards.board import Board
from observability.dashboards.boards import BOARDS
from observability.dashboards.render import FOLDER, render_dashboards

__all__ = ["BOARDS", "FOLDER", "Board", "render_dashboards"]
