"""What ``throughline backtest --since`` takes."""

from datetime import UTC, datetime

import pytest

from events import ConfigurationError, least_id
from throughline.cli.backtest import _moment


@pytest.mark.parametrize("since", ["soon", "999999999999d", "1000000d", "2026-13-01"])
def test_what_is_no_time_is_refused_in_a_line(since: str) -> None:
    with pytest.raises(ConfigurationError, match="--since is"):
        _moment(since)


@pytest.mark.parametrize("since", ["0001-01-01", "1969-12-31T23:00:00Z"])
def test_a_time_before_all_ids_means_all_events(since: str) -> None:
    assert least_id(_moment(since)).int == 0


def test_a_time_without_a_zone_is_utc() -> None:
    assert _moment("2026-11-30T08:00:00") == datetime(2026, 11, 30, 8, tzinfo=UTC)
