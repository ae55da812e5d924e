"""The lives of runs on real PostgreSQL: what processes do, in any order, comes out as the model says."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from settings import DatabaseSettings
from storage.engine import create_engine
from tests.support.life.machine import Life, RacingLives, World

_STORY = frozenset(
    {
        "queued -> running",
        "queued -> cancelled",
        "running -> queued retry",
        "running -> queued rescued",
        "running -> queued handed_back",
        "running -> queued isolated",
        "running -> succeeded",
        "running -> failed error",
        "running -> failed poisoned",
        "running -> cancelled",
        "Accept: something",
        "Take: something",
        "Claim: nothing",
        "Checkpoint: something",
        "Checkpoint: nothing",
        "Finish: nothing",
        "Free: nothing",
        "Replay: something",
        "Replay: nothing",
        "ReplayDead: something",
    }
)
"""What must have happened, or the machine has become too tame to prove anything."""


_ROUNDS = 4
"""Times 80 lives at most: what a seed brings about depends on the constants in whatever is imported."""


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with asyncio.Runner() as runner:
        engine = create_engine(DatabaseSettings.model_validate({"url": database_url}), application="test", pool_size=4)
        yield World(engine, runner)
        runner.run(engine.dispose())


def live(machine: Callable[[], Life], *, lives: int, steps: int, raced: bool = False) -> None:
    """Live that many lives of so many steps, the same each time. A race is not shrunk: it may end otherwise."""
    chosen = settings(
        max_examples=lives,
        stateful_step_count=steps,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate] if raced else [Phase.generate, Phase.shrink],
        print_blob=False,
    )
    run_state_machine_as_test(machine, settings=chosen)


def test_every_life_of_a_run_is_as_the_model_says(world: World) -> None:
    live(lambda: Life(world), lives=25, steps=30)
    assert len(_STORY & world.seen.keys()) > len(_STORY) / 2  # which of it happens depends on what else is imported


def test_two_at_once_come_out_as_one_after_the_other(world: World) -> None:
    live(lambda: RacingLives(world), lives=30, steps=30, raced=True)
    assert world.seen["raced: in one order"] > 30


@pytest.mark.verify
@pytest.mark.timeout(600)
def test_many_long_lives_are_as_the_model_says(world: World) -> None:
    for number in range(_ROUNDS):
        live(seed(number)(lambda: Life(world)), lives=80, steps=60)
        if set(world.seen) >= _STORY:
            break
    assert _STORY - set(world.seen) == set()


@pytest.mark.verify
@pytest.mark.timeout(600)
def test_many_races_come_out_as_one_after_the_other(world: World) -> None:
    live(lambda: RacingLives(world), lives=80, steps=60, raced=True)
    assert world.seen["raced: in one order"] > 300
