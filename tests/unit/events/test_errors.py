import pickle

import pytest

from events import ConfigurationError, Permanent, ThroughlineError, Transient


@pytest.mark.parametrize("error", [ThroughlineError, Permanent, Transient, ConfigurationError])
def test_the_docstring_is_the_default_message(error: type[ThroughlineError]) -> None:
    assert str(error()) == (error.__doc__ or "").splitlines()[0]


@pytest.mark.parametrize("error", [Permanent("no such node"), Transient()])
def test_an_error_survives_the_way_to_another_process(error: ThroughlineError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
