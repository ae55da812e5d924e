from benchmarks.bench import Bench


def generator(bench: Bench) -> None:
    """Show what the load generator reaches where the other end does nothing: it must be far above what is measured."""
    port = bench.stack.start_responder()
    for connections in (1, 32, 256):
        sent = bench.send(bench.orders(connections=connections, seconds=1.0, ports=(port,)))
        bench.add(f"load generator's ceiling {connections}", sent.rate, "requests/s")
        bench.add(f"load generator's cost {connections}", sent.cpu / sent.requests * 1e6, "us/request")
    bench.stack.stop("responder")
