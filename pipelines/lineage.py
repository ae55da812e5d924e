from collections.abc import Mapping

from pipelines.steps import Step


def nodes_before(steps: Mapping[str, Step], node: str) -> frozenset[str]:
    """Return the nodes from which ways lead to ``node``: what a run that begins there again need not do again.

    Raises:
        KeyError: the pipeline has no such node.

    """
    _ = steps[node]
    before = {node}
    for name in reversed(tuple(steps)):
        if before.intersection(steps[name].targets):
            before.add(name)
    return frozenset(before - {node})
