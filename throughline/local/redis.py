import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from settings import RedisSettings


def redis_trouble(settings: RedisSettings, *, place: str) -> str | None:
    """Ask Redis once; return a line that says why events will wait, None when it answers. Never tells the password."""
    try:
        with redis.Redis.from_url(
            settings.url.get_secret_value(),
            socket_timeout=settings.socket_timeout,
            socket_connect_timeout=settings.connect_timeout,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            client.ping()
    except (redis.AuthenticationError, redis.ResponseError) as error:
        return f"Redis at {place} refuses us ({str(error).splitlines()[0]}); events wait until it doesn't"
    except (redis.RedisError, OSError, ValueError):
        return f"Redis at {place} doesn't answer; events wait until it does"
    return None
