import pytest
from pydantic import SecretStr

from settings import RedisSettings, Settings
from throughline.doctor.finding import Verdict
from throughline.doctor.redis import examine_redis


@pytest.mark.parametrize("url", ["redis://:pa/hunter2@localhost/0", "redis://:hunter2@localhost:port/0"])
def test_an_address_that_is_none_is_a_finding_that_shows_no_password(url: str) -> None:
    (finding,) = examine_redis(Settings(redis=RedisSettings(url=SecretStr(url))))
    assert finding.verdict is Verdict.BAD
    assert "is no address" in finding.said
    assert "hunter2" not in f"{finding.said} {finding.mend}"
