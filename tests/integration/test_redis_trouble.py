from settings import RedisSettings
from throughline.local.redis import redis_trouble


def test_a_redis_that_answers_is_no_trouble_and_one_that_refuses_says_why(redis_url: str) -> None:
    assert redis_trouble(RedisSettings(url=redis_url), place="there") is None
    refused = redis_trouble(RedisSettings(url=redis_url.replace("//", "//me:hunter2@")), place="there")
    assert refused is not None
    assert refused.startswith("Redis at there refuses us (")
    assert "hunter2" not in refused
