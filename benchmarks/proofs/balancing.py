"""Proof: every strategy of load balancing shares requests as it says, over two workers, on real sockets.

Origins on ports of their own answer their number. Each service is one cell of the matrix: a strategy, a number of
endpoints, weights 1 2 3 1 2 3 ..., all alive or the second one dead (nobody listens on its port). Requests come one
after the other over connections that both workers have accepted, each from a client of its own (X-Forwarded-For of a
trusted peer) and with a key of its own, so what is found can be held against theory:

- in turn (round_robin, weighted_round_robin): no endpoint is further from its share than 2 requests per worker; beside
  a dead one each request that met it has moved a turn, so 8 more
- drawn (random; least_connections while nobody is busy) and by key (ip_hash, maglev): chi-square below its mean plus 5
  standard deviations, which 1 of some 100,000 sound runs exceeds. A ring's points are drawn too: every share within 5
  standard deviations of keys and points (160 for weight 1) together
- peak_ewma follows times, which no theory knows: all that live are used, and a slow endpoint gets a fraction

By key the same client meets the same endpoint whichever worker it meets. When one of 50 leaves, about 1/50 of the keys
move: all of those that were its own, and with ip_hash and ring_hash no others.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs.evidence import Evidence, ProofError
from benchmarks.proofs.hive import HOST, Hive, eventually, free_port
from benchmarks.proofs.part import Cue, Part

PROMISE: Final = "every strategy of load balancing shares requests as it says, over all workers"

WORKERS: Final = 2
CONNECTIONS: Final = 8
MOST_CONNECTIONS: Final = 64
IN_TURN: Final = ("round_robin", "weighted_round_robin")
DRAWN: Final = ("random", "least_connections")
BY_KEY: Final = ("ip_hash", "ring_hash", "maglev")
STRATEGIES: Final = (*IN_TURN, *DRAWN, *BY_KEY, "peak_ewma")

RING_POINTS: Final = 160
MOST: Final = 50
SLOW: Final = 0.1
REPLY_LIMIT: Final = 20.0


def prove(evidence: Evidence, folder: Path) -> None:
    sizes = (3,) if evidence.short else (2, 3, 5, MOST)
    requests = 240 if evidence.short else 3000
    web, dead, *ports = (free_port() for _ in range(MOST + 3))
    places = dict(zip(range(1, MOST + 2), ports, strict=True))  # the last one is slow
    services = matrix(sizes, places, dead)
    services["slow"] = service("peak_ewma", [1, 2, MOST + 1], places, None, False)
    services |= {f"leaving-{name}": service(name, range(1, MOST + 1), places, None, False) for name in BY_KEY}
    config = {
        "workers": WORKERS,
        "trusted_proxies": [f"{HOST}/32"],
        "listeners": [{"name": "web", "address": f"{HOST}:{web}"}],
        "services": {name: {**each, "domain": domain(name)} for name, each in services.items()},
    }
    with Part(origins, places) as _, Hive(config, folder) as hive:
        client = Client(web, hive)
        for name in STRATEGIES:
            cells = [each for each in services if each.partition("-")[0] == name]
            judge(evidence, client, name, cells, services, requests)
        counted = Counter(client.ask("slow", number) for number in range(requests))
        evidence.claim(
            f"peak_ewma: one of three that takes {SLOW * 1000:.0f} ms longer gets less than a fifth of the requests",
            counted[MOST + 1] < requests / 5,
            f"{counted[MOST + 1]} of {requests}",
        )
        leave(evidence, client, hive, config, 300 if evidence.short else 3000)
        evidence.claim("both workers had a part of it", client.workers(hive) == WORKERS, f"{CONNECTIONS} connections")
        evidence.claim("the log has no bug", not hive.bugs(), hive.bugs()[:3] or "none")
        client.close()


# --- the matrix -----------------------------------------------------------------------------------------------------


def matrix(sizes: tuple[int, ...], places: dict[int, int], dead: int) -> dict[str, Any]:
    """Services by name: strategy-size, strategy-size-dead."""
    found = {}
    for name in STRATEGIES:
        for size in sizes:
            for dies in (False, True):
                found[f"{name}-{size}" + ("-dead" if dies else "")] = service(
                    name, range(1, size + 1), places, dead if dies else None, True
                )
    return found


def service(strategy: str, numbers: Any, places: dict[int, int], dead: int | None, weighted: bool) -> dict[str, Any]:
    balancing: dict[str, Any] = {"strategy": strategy}
    if strategy in ("ring_hash", "maglev"):
        balancing["hash_on"] = "header:x-key"
    return {
        "load_balancing": balancing,
        "endpoints": [
            {
                "id": f"e{number}",
                "address": f"{HOST}:{dead if dead is not None and number == 2 else places[number]}",
                "weight": weight_of(number) if weighted else 1,
            }
            for number in numbers
        ],
    }


def domain(service: str) -> str:
    return service.replace("_", "-") + ".example"


def weight_of(number: int) -> int:
    return (number - 1) % 3 + 1


def judge(
    evidence: Evidence, client: Client, name: str, cells: list[str], services: dict[str, Any], requests: int
) -> None:
    """One claim per strategy: all its cells."""
    wrong = []
    found = []
    for cell in cells:
        dies = cell.endswith("-dead")
        counted = Counter(client.ask(cell, number) for number in range(requests))
        weights = {
            int(each["id"][1:]): 1 if name == "round_robin" else each["weight"]
            for each in services[cell]["endpoints"]
            if not (dies and each["id"] == "e2")
        }
        complaint, number = verdict(name, counted, weights, requests, dies)
        found.append(number)
        if complaint:
            wrong.append(f"{cell}: {complaint}")
        evidence.note(cell, dict(sorted(counted.items())) if len(weights) < MOST - 1 else number)
    evidence.claim(
        f"{name}: {BOUNDS[name]}, with {', '.join(sorted({cell.split('-')[1] for cell in cells}, key=int))} endpoints,"
        " weights, and one of them dead",
        not wrong,
        "; ".join(wrong) or f"{requests} requests to each of {len(cells)} services; {', '.join(found)}",
    )


BOUNDS: Final = {
    **dict.fromkeys(IN_TURN, "no endpoint is further from its share than 2 requests per worker (8 more beside a dead)"),
    **dict.fromkeys((*DRAWN, "ip_hash", "maglev"), "chi-square is within 5 standard deviations"),
    "ring_hash": "every share is within 5 standard deviations of keys and points",
    "peak_ewma": "all that live are used and nobody else",
}


def verdict(name: str, counted: Counter[int], weights: dict[int, int], requests: int, dies: bool) -> tuple[str, str]:
    """What is wrong, "" when nothing is; the number that was judged."""
    strangers = counted.keys() - weights.keys()
    if strangers:
        return f"answered by {sorted(strangers)}", "-"
    total = sum(weights.values())
    shares = {number: requests * weight / total for number, weight in weights.items()}
    if name == "peak_ewma":
        idle = [number for number in weights if not counted[number]]
        # Some of 50 may be slower than all others for as long as this takes.
        return (f"{idle} got none" if len(idle) > len(weights) / 2 else ""), f"{len(weights) - len(idle)} used"
    if name in IN_TURN:
        worst = max(abs(counted[number] - share) for number, share in shares.items())
        most = 2 * WORKERS + (8 if dies else 0)
        return (f"{worst:.1f} from its share, more than {most}" if worst > most else ""), f"at most {worst:.1f} away"
    if name == "ring_hash":
        away = max(
            abs(counted[number] - share) / (share + share**2 / (RING_POINTS * weights[number])) ** 0.5
            for number, share in shares.items()
        )
        return (f"{away:.1f} standard deviations" if away > 5 else ""), f"{away:.1f} deviations"
    chi_square = sum((counted[number] - share) ** 2 / share for number, share in shares.items())
    freedom = len(weights) - 1
    most = freedom + 5 * (2 * max(freedom, 1)) ** 0.5
    return (
        f"chi-square {chi_square:.1f} above {most:.1f}" if chi_square > most else ""
    ), f"{chi_square:.1f}/{most:.1f}"


# --- one of 50 leaves -------------------------------------------------------------------------------------------------


def leave(evidence: Evidence, client: Client, hive: Hive, config: dict[str, Any], keys: int) -> None:
    names = [f"leaving-{name}" for name in BY_KEY]
    before = {name: [client.ask(name, key) for key in range(keys)] for name in names}
    again = {name: [client.ask(name, key, turn=1) for key in range(keys)] for name in names}
    evidence.claim(
        "by key the same client meets the same endpoint, on every connection to every worker",
        before == again,
        f"{keys} keys, twice, with {', '.join(BY_KEY)}",
    )
    services: dict[str, Any] = dict(config["services"])
    for name in names:
        services[name] = {
            **services[name],
            "endpoints": [each for each in services[name]["endpoints"] if each["id"] != "e7"],
        }
    hive.write(hive.complete({**config, "services": services}))
    hive.hang_up()
    key = before[names[0]].index(7)
    eventually(
        lambda: all(client.ask(names[0], key, turn=turn) != 7 for turn in range(2 * CONNECTIONS)),
        "the change",
        REPLY_LIMIT,
    )
    for name in names:
        for number in range(100 * CONNECTIONS):  # each worker makes its tables anew, a slice with each pick
            client.ask(name, number)
        after = [client.ask(name, key) for key in range(keys)]
        own = before[name].count(7)
        moved = [was for was, now in zip(before[name], after, strict=True) if was != now]
        others = sum(was != 7 for was in moved)
        exact = name != "leaving-maglev"
        evidence.claim(
            f"{name.partition('-')[2]}: when one of {MOST} leaves, its keys move and "
            + ("no others" if exact else "at most 5 % of the others"),
            7 not in after and (others == 0 if exact else others < keys / 20) and 0 < own < 3 * keys / MOST,
            f"{len(moved)} of {keys} keys moved, {others} of them not its own; 1/{MOST} is {keys / MOST:.0f}",
        )


# --- both ends --------------------------------------------------------------------------------------------------------


class Client:
    """Asks one thing after the other, over several connections in turn."""

    def __init__(self, port: int, hive: Hive) -> None:
        """At least CONNECTIONS, and as many more as it takes for every worker to have one: the kernel draws."""
        self._sockets: list[socket.socket] = []
        while len(self._sockets) < CONNECTIONS or (
            self.workers(hive) < WORKERS and len(self._sockets) < MOST_CONNECTIONS
        ):
            each = socket.create_connection((HOST, port), REPLY_LIMIT)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(each)

    def ask(self, service: str, number: int, turn: int = 0) -> int:
        """Which origin answers client `number`."""
        each = self._sockets[(number + turn) % len(self._sockets)]
        each.sendall(
            b"GET / HTTP/1.1\r\nHost: %b\r\nX-Key: user-%d\r\nX-Forwarded-For: 10.%d.%d.%d\r\n\r\n"
            % (domain(service).encode(), number, number >> 16 & 255, number >> 8 & 255, number & 255)
        )
        data = b""
        while b"\r\n\r\n" not in data or not data.endswith(b"\n"):
            more = each.recv(65536)
            if not more:
                raise ProofError(f"the connection ended after {data!r}")
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ProofError(f"{service}: {head.splitlines()[0]!r} {body!r}")
        return int(body)

    def workers(self, hive: Hive) -> int:
        """How many workers our connections are with."""
        found = json.loads(hive.api("GET", "/v1/workers")[1])
        return sum(each["connections"] > 0 for each in found)

    def close(self) -> None:
        for each in self._sockets:
            each.close()


async def origins(cue: Cue, places: dict[int, int]) -> None:
    """Answer with the number; the last one takes its time."""

    def serving(number: int) -> Any:
        body = b"%d\n" % number
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    await reader.readuntil(b"\r\n\r\n")
                    if number == MOST + 1:
                        await asyncio.sleep(SLOW)
                    writer.write(answer)
            except (OSError, asyncio.IncompleteReadError):
                writer.close()

        return serve

    servers = [await asyncio.start_server(serving(number), HOST, port) for number, port in places.items()]
    cue.ready()
    await cue.stop.wait()
    for each in servers:
        each.close()
