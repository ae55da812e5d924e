import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from storage.engine import is_unavailable, refused_state


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"),
        asyncpg.AdminShutdownError("terminating connection"),
        asyncpg.InterfaceError("connection is closed"),
        ConnectionResetError(),
        TimeoutError(),
    ],
)
def test_what_a_server_that_goes_leaves_behind_passes_by_itself(error: Exception) -> None:
    assert is_unavailable(error)


class Unencodable(asyncpg.InterfaceError, ValueError):
    """As the driver's own, which has no public name."""


def test_a_value_that_the_driver_cannot_encode_is_refused_whoever_wraps_it() -> None:
    encoding = Unencodable("invalid input for query argument $1: a lone surrogate")
    through_sqlalchemy = Exception("wrapped by the dialect")
    through_sqlalchemy.__cause__ = encoding
    for error in (encoding, DBAPIError("INSERT", {}, through_sqlalchemy)):
        assert not is_unavailable(error)
        assert refused_state(error) == "22000"


@pytest.mark.parametrize("error", [asyncpg.UndefinedFunctionError("no such function"), ValueError("ours")])
def test_a_mistake_of_ours_does_not(error: Exception) -> None:
    assert not is_unavailable(error)
