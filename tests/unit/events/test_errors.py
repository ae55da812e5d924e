import pickle

import pytest

from events import ConfigurationError, Permanent, RetryAfter, ThroughlineError, Transient


@pytest.mark.parametrize("error", [ThroughlineError, Permanent, Transient, ConfigurationError])
def test_the_docstring_is_the_default_message(error: type[ThroughlineError]) -> None:
    assert str(error()) == (error.__doc__ or "").splitlines()[0]


@pytest.mark.parametrize("error", [Permanent("no such node"), Transient(), RetryAfter(1.5)])
def test_an_error_survives_the_way_to_another_process(error: ThroughlineError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)


def test_what_a_server_asked_for_survives_the_way_too() -> None:
    assert pickle.loads(pickle.dumps(RetryAfter(1.5))).seconds == 1.5
    assert issubclass(RetryAfter, Transient)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_wait_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds is"):
        RetryAfter(seconds)
