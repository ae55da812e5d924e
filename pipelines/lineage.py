from collections.abc import Mapping

from pipelines.steps import Step, every


def nodes_before(steps: Mapping[str, Step], node: str) -> frozenset[str]:
    """Return the nodes from which ways lead to ``node``: what a run that begins there again need not do again.

    What stands within one of them, such as a branch, is among them by the name that its results are kept under. Of a
    branch, the branches beside it are before it, too: nothing of theirs comes from it.

    Raises:
        KeyError: the pipeline has no such node.

    """
    around = next((step for step in steps.values() if node in _names(step)), None)
    if around is None:
        raise KeyError(node)
    before = {around.node.name}
    for name in reversed(tuple(steps)):
        if before.intersection(steps[name].targets):
            before.add(name)
    found = {name for before_it in before - {around.node.name} for name in _names(steps[before_it])}
    if around.name == node:
        return frozenset(found)
    return frozenset(found | _before_within(around, node))


def _before_within(around: Step, node: str) -> frozenset[str]:
    if not around.branches:
        return nodes_before(around.inner, node)
    holder = next(branch for branch in around.branches if node in _names(branch))
    beside = [name for branch in around.branches if branch is not holder for name in _names(branch)]
    return nodes_before({holder.node.name: holder}, node).union(beside)


def _names(step: Step) -> tuple[str, ...]:
    return tuple(one.name for one in every((step,)))
