from collections.abc import Mapping

from pipelines.steps import Step, every


def nodes_before(steps: Mapping[str, Step], node: str) -> frozenset[str]:
    """Return the nodes from which ways lead to ``node``: what a run that begins there again need not do again.

    What stands within one of them, such as a branch, is among them by the name that its results are kept under.

    Raises:
        KeyError: the pipeline has no such node.

    """
    _ = steps[node]
    before = {node}
    for name in reversed(tuple(steps)):
        if before.intersection(steps[name].targets):
            before.add(name)
    return frozenset(one.name for name in before - {node} for one in every((steps[name],)))
