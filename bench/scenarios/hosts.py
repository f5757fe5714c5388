"""How much more two hosts do than one: one worker process each, with the same servers."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from bench.measurement import Measurement, alternate_rounds, compare_with_peer
from bench.size import Size
from bench.world import World, pause_between_rounds
from tests.faults.proxy import Proxy
from tests.hosts import Host, Network

WITHIN_S = 240.0
NAME = "drain by a worker on each of two hosts"
JOBS = {"noop": "jobs that do nothing", "nap": "jobs that wait 50 ms"}
NAP_ENVIRONMENT = {"BENCH_NAP_MS": "50"}
FEWER_NAPS = 10
"""Run so many times fewer of the jobs that wait."""


def hosts(world: World, size: Size) -> list[Measurement]:
    """Run the same jobs on one host, and on two; needs root.

    Hosts are network namespaces of this machine: they share its cores with the servers, and reach
    the servers through a proxy. So jobs that wait show what a second host adds, and jobs that
    compute show what the shared cores leave of that.
    """
    with Network() as network:
        found = [network.host("host-a"), network.host("host-b")]
        made = []
        for job, said in JOBS.items():
            count = size.option_jobs if job == "noop" else size.nap_jobs // FEWER_NAPS

            def measure(number: str, job: str = job, count: int = count) -> dict[str, float]:
                with proxy_servers(world, network.address) as env:
                    return {"rate": measure_drain(world, found[: int(number)], job, count, env)}

            rates = alternate_rounds(size.rounds, ("1", "2"), measure)
            made.append(
                compare_with_peer(
                    f"{said}, {NAME}", rates["2"]["rate"], "jobs/s", "on one", rates["1"]["rate"]
                )
            )
    return made


@contextmanager
def proxy_servers(world: World, address: str) -> Generator[dict[str, str]]:
    """Make the servers reachable at an address; yield the variables that point there."""
    environment = world.environment("ours")
    with ExitStack() as opened:

        def at(name: str) -> str:
            parts = urlsplit(url := environment[name])
            server = str(parts.hostname), parts.port or 0
            return opened.enter_context(Proxy(*server, address)).url(url)

        yield {name: at(name) for name in ("WORKSHED_BROKER_URL", "WORKSHED_DATABASE_URL")}


def measure_drain(
    world: World, hosts: Sequence[Host], job: str, count: int, env: dict[str, str]
) -> float:
    """Fill the queue, and let the hosts drain it together; return jobs per second."""
    world.reset()
    world.send("ours", "bulk", count, job)
    pause_between_rounds()
    marks = world.new_marks()
    with ExitStack() as started:
        trees = [
            started.enter_context(
                world.start_worker(
                    "ours", marks, within=host.words, gated=True, **env, **NAP_ENVIRONMENT
                )
            )
            for host in hosts
        ]
        for tree in trees:
            tree.wait_until_idle(WITHIN_S)
        marks.gate.open()
        trees[0].wait_until(lambda: marks.count >= count, WITHIN_S)
    return marks.rate()
