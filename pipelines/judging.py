"""What the errors of one try mean for the run."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from events import ErrorInfo, Failed, Retry
from pipelines.error_info import error_info
from pipelines.retry import RetryPolicy, decide
from pipelines.steps import Step

Errors = Sequence[tuple[str | None, BaseException]]
"""By the node they came from; None: from none of them."""


@dataclass(frozen=True, slots=True)
class _Budget:
    """A policy, and the name by which those who share its tries are known; None: the pipeline's."""

    policy: RetryPolicy
    name: str | None


class Judge:
    """Knows by which policy each node of a pipeline is judged, and which errors count there.

    A node with a policy of its own, and a branch, whose siblings fail beside it, have tries of their own; so have the
    other nodes of a sub-pipeline together, by its policy. All others share the pipeline's.
    """

    def __init__(self, steps: Iterable[Step], policy: RetryPolicy) -> None:
        self._rest = _Budget(policy, None)
        self._budgets: Mapping[str, _Budget] = dict(_budgets(steps, self._rest))

    def of(
        self,
        error: BaseException,
        before: Mapping[str | None, int],
        *,
        node: str | None,
        draw: Callable[[], float] = random.random,
    ) -> Retry | Failed:
        """Judge one error, ``before`` being the earlier tries that ended in an error, by node."""
        budget = self._of(node)
        spent = sum(count for name, count in before.items() if self._of(name).name == budget.name)
        return decide(error, budget.policy, spent, node=node, draw=draw)

    def of_all(
        self,
        errors: Errors,
        before: Mapping[str | None, int],
        *,
        of: str,
        draw: Callable[[], float] = random.random,
    ) -> Retry | Failed:
        """Judge what failed side by side in node ``of``: a final error ends the run, or the longest wait counts."""
        judged = [self.of(error, before, node=node, draw=draw) for node, error in errors]
        if len(judged) == 1:
            return judged[0]
        nodes = tuple(node for node, _ in errors if node is not None)
        for one in judged:
            if isinstance(one, Failed):
                return replace(one, error=replace(one.error, nodes=nodes))
        delay = max(one.delay for one in judged if isinstance(one, Retry))
        return Retry(delay=delay, error=joined(errors, of=of))

    def is_final(self, errors: Errors, before: Mapping[str | None, int]) -> bool:
        """Say whether one of them ends what it happened in, whatever time is left."""
        return any(isinstance(self.of(error, before, node=node), Failed) for node, error in errors)

    def _of(self, node: str | None) -> _Budget:
        return self._rest if node is None else self._budgets.get(node, self._rest)


def joined(errors: Errors, *, of: str) -> ErrorInfo:
    """Return what is kept of the errors that ended the node ``of``; of one alone, it is kept as it is."""
    if len(errors) == 1:
        ((node, error),) = errors
        return error_info(error, node=node)
    group = BaseExceptionGroup(f"{len(errors)} branches of {of!r} failed", [error for _, error in errors])
    nodes = tuple(node for node, _ in errors if node is not None)
    return replace(error_info(group, node=of), nodes=nodes)


def _budgets(steps: Iterable[Step], rest: _Budget, *, beside: bool = False) -> Iterator[tuple[str, _Budget]]:
    for step in steps:
        policy = step.inner_retry or step.node.retry or rest.policy
        own = beside or step.inner_retry is not None or step.node.retry is not None
        budget = _Budget(policy, step.name) if own else rest
        yield step.name, budget
        yield from _budgets(step.branches, rest, beside=True)
        yield from _budgets(step.inner.values(), budget)
