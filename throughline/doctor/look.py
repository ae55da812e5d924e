from collections.abc import Iterator

from settings import Settings
from throughline.doctor.finding import Finding
from throughline.doctor.pipelines import examine_pipelines
from throughline.doctor.postgres import examine_postgres
from throughline.doctor.redis import examine_redis


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything that the processes need, one finding after another; never raises for what it finds."""
    yield from examine_pipelines(settings)
    yield from examine_postgres(settings)
    yield from examine_redis(settings)
