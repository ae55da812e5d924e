import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from events import Failed, FailureKind, Permanent, Retry, RetryAfter, Transient
from pipelines import RetryPolicy, decide
from pipelines.error_info import error_info
from pipelines.errors import CycleError, InvalidOutputError
from pipelines.retry import NodeTimeoutError, backoff

POLICY = RetryPolicy()

policies = st.tuples(st.integers(1, 50), st.floats(0, 1e6), st.floats(0, 1e6)).map(
    lambda given: RetryPolicy(max_attempts=given[0], base=min(given[1:]), cap=max(given[1:]))
)
unit = st.floats(0, 1)


@given(policy=policies, errors=st.integers(0, 10**9), drawn=unit)
def test_a_wait_is_never_negative_and_never_above_the_cap(policy: RetryPolicy, errors: int, drawn: float) -> None:
    assert 0 <= backoff(policy, errors, draw=lambda: drawn) <= policy.cap


@given(policy=policies, errors=st.integers(0, 100), drawn=unit)
def test_a_wait_grows_with_the_errors(policy: RetryPolicy, errors: int, drawn: float) -> None:
    assert backoff(policy, errors, draw=lambda: drawn) <= backoff(policy, errors + 1, draw=lambda: drawn)


@given(policy=policies, errors=st.integers(0, 100), permanent=st.booleans())
def test_a_run_is_tried_max_attempts_times_and_a_permanent_error_ends_it_at_once(
    policy: RetryPolicy, errors: int, permanent: bool
) -> None:
    decision = decide(Permanent("no") if permanent else Transient("later"), policy, errors)
    assert isinstance(decision, Failed) == (permanent or errors + 1 >= policy.max_attempts)


def test_the_first_waits_are_drawn_from_one_two_and_four_seconds() -> None:
    assert [backoff(POLICY, errors, draw=lambda: 1.0) for errors in (0, 1, 2, 10)] == [1.0, 2.0, 4.0, 60.0]


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), TimeoutError(), Transient(), SystemExit(1), KeyError("k"), MemoryError(), OSError(5, "io")],
)
def test_every_other_error_is_retried(error: BaseException) -> None:
    decision = decide(error, POLICY, 0, node="fetch")
    assert isinstance(decision, Retry)
    assert (decision.error.type, decision.error.node) == (type(error).__name__, "fetch")


@pytest.mark.parametrize("error", [KeyError("k"), Transient(), RetryAfter(1), NodeTimeoutError(), TimeoutError()])
def test_what_a_policy_names_is_retried_and_so_are_transient_errors_and_timeouts(error: BaseException) -> None:
    assert isinstance(decide(error, RetryPolicy(retry_on=(LookupError,)), 0), Retry)
    assert isinstance(decide(OSError(), RetryPolicy(retry_on=(LookupError,)), 0), Failed)


def test_what_a_policy_gives_up_on_is_not_retried_also_within_a_group_or_if_it_is_a_timeout() -> None:
    policy = RetryPolicy(give_up_on=(LookupError, NodeTimeoutError))
    for error in (KeyError("k"), ExceptionGroup("tasks", [OSError(), KeyError("k")]), NodeTimeoutError()):
        assert isinstance(decide(error, policy, 0), Failed)
    assert isinstance(decide(OSError(), policy, 0), Retry)


@given(asked=st.floats(0, 1e9), most=st.floats(0, 1e9), drawn=unit)
def test_a_wait_that_was_asked_for_is_kept_up_to_the_policys_most(asked: float, most: float, drawn: float) -> None:
    policy = RetryPolicy(max_retry_after=most)
    decision = decide(RetryAfter(asked), policy, 0, draw=lambda: drawn)
    assert isinstance(decision, Retry)
    assert decision.delay == min(asked, most)


def test_of_several_waits_that_were_asked_for_the_longest_counts() -> None:
    decision = decide(ExceptionGroup("tasks", [RetryAfter(3), OSError(), RetryAfter(8)]), POLICY, 0)
    assert isinstance(decision, Retry)
    assert decision.delay == 8


def test_waiting_as_asked_uses_up_tries_like_any_error() -> None:
    assert isinstance(decide(RetryAfter(3), POLICY, POLICY.max_attempts - 1), Failed)


def test_a_group_with_one_permanent_error_is_permanent() -> None:
    mixed = BaseExceptionGroup("tasks", [ValueError("a"), ExceptionGroup("inner", [Permanent("never")])])
    assert isinstance(decide(mixed, POLICY, 0), Failed)
    assert isinstance(decide(ExceptionGroup("tasks", [ValueError("a")]), POLICY, 0), Retry)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NodeTimeoutError("late"), FailureKind.TIMEOUT),
        (TimeoutError("the user's own"), FailureKind.ERROR),
        (InvalidOutputError("no"), FailureKind.INVALID_OUTPUT),
        (Permanent(), FailureKind.ERROR),
    ],
)
def test_a_final_failure_has_a_kind(error: BaseException, kind: FailureKind) -> None:
    decision = decide(error, RetryPolicy(max_attempts=1), 0)
    assert isinstance(decision, Failed)
    assert decision.kind is kind


def test_what_is_kept_of_an_error_can_be_stored_as_text() -> None:
    info = error_info(ValueError("nul \0, surrogate \ud800, " + "long " * 10_000))
    assert "\0" not in info.message
    info.message.encode()
    assert len(info.message) <= 2_000


def test_a_validation_error_is_kept_without_the_values() -> None:
    class Login(BaseModel):
        pin: int

    secret = "hunter2"
    with pytest.raises(ValidationError) as caught:
        Login.model_validate({"pin": secret})  # a traceback quotes the source line: a name, not the value
    info = error_info(caught.value)
    assert info.message == "Login: 'pin' should be a valid integer, unable to parse string as an integer"
    assert secret not in f"{info.traceback}"


def test_so_is_one_of_an_object_whose_property_quotes_them() -> None:
    class Login(BaseModel):
        model_config = ConfigDict(from_attributes=True)

        pin: int

    class Row:
        @property
        def pin(self) -> int:
            raise ValueError("hunter2 is no pin")

    with pytest.raises(ValidationError) as caught:
        Login.model_validate(Row())
    assert error_info(caught.value).message == "Login: 'pin' is not valid"


def test_credentials_in_a_message_are_redacted() -> None:
    secret = SecretStr("s3cr3t").get_secret_value()
    info = error_info(ConnectionError(f"postgresql://me:{secret}@db/x refused"))
    assert secret not in f"{info}"


def test_a_groups_message_names_its_members() -> None:
    assert (
        error_info(ExceptionGroup("two", [ValueError("a"), KeyError("b")])).message
        == "two: ValueError: a; KeyError: 'b'"
    )


def test_an_error_that_cannot_show_itself_is_told_all_the_same() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert error_info(BrokenError()).type.endswith("BrokenError")


def test_a_traceback_names_the_line_and_the_cause() -> None:
    def raise_key_error(key: str) -> None:
        raise KeyError(key)

    def fail() -> None:
        try:
            raise_key_error("inner")
        except KeyError as error:
            raise ValueError("outer") from error

    with pytest.raises(ValueError, match="outer") as caught:
        fail()
    kept = error_info(caught.value).traceback or ""
    assert __file__ in kept
    assert kept.index("KeyError: 'inner'") < kept.index("ValueError: outer")


def test_errors_cross_a_process() -> None:
    assert str(pickle.loads(pickle.dumps(CycleError("in a circle")))) == "in a circle"
