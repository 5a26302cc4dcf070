"""What is done to hivemesh and its surroundings, on a schedule that follows from a seed.

One thing at a time: each waits until everything is as before, so that at any time three of four endpoints serve and a
failure has one event that it can be explained by. Nothing here judges what clients saw; what does not come to pass at
all is a ProofError.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from typing import Any, Final, TypeVar

from benchmarks.proofs.crash import process_of
from benchmarks.proofs.evidence import ProofError, Say
from benchmarks.proofs.hive import HOST, Hive
from benchmarks.proofs.part import Part
from benchmarks.soak.journal import Journal
from benchmarks.soak.origin import origin
from benchmarks.soak.processes import of_session
from benchmarks.soak.resolver import resolver
from benchmarks.soak.rules import Dead, Event, InForce
from benchmarks.soak.scene import BREAKAGES, ENDPOINTS, Scene

# For a busy machine: nothing is judged by it.
LIMIT: Final = 240.0
POLL: Final = 0.1

T = TypeVar("T")

WORKERS: Final = 2

# Checked services of the endpoints, of which DNS tells `app`.
CHECKED: Final = ("app", "upload", "flaky", "chat", "echo", "pong")

# A reload is asked for in one of these ways.
WAYS: Final = ("watch", "api", "hup")


def until(condition: Callable[[], T | None], what: str) -> T:
    """The first true value of `condition()`, which may cost the agent something: it is asked ten times a second."""
    deadline = time.monotonic() + LIMIT
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise ProofError(f"not within {LIMIT:g} s: {what} (last: {value!r})")
        time.sleep(POLL)
    return value


class Chaos:
    """events, history and dead are what the rules judge by. wrong: what did not become of an event what has to."""

    def __init__(self, scene: Scene, hive: Hive, seed: int, calm: float, say: Say) -> None:
        """calm: seconds from an event to the next, at most; half of it on average."""
        self.events: list[Event] = []
        self.dead: list[Dead] = []
        self.wrong: list[str] = []
        self.log_lines = 0
        self.journal = Journal(hive.output)
        self._scene = scene
        self._hive = hive
        self._random = random.Random(seed)
        self._calm = calm
        self._say = say
        self._began = self.start = time.monotonic()
        self._number = 0
        self._workers = WORKERS
        self._way = 0
        self._rotated = 0
        self._endpoint = 0
        self._worker = 0
        self._origins: dict[str, Part] = {}
        self._resolver: Part | None = None
        self.history = [InForce(0, 0.0, time.monotonic())]
        self._deeds: dict[str, Callable[[], str]] = {
            "reload": self._reload,
            "broken_file": self._broken_file,
            "endpoint_kill": self._endpoint_kill,
            "endpoint_hang": self._endpoint_hang,
            "worker_kill": self._worker_kill,
            "worker_pause": self._worker_pause,
            "agent_kill": self._agent_kill,
            "store_restart": self._store_restart,
            "health_flap": self._health_flap,
            "upgrade": self._upgrade,
            "worker_count": self._worker_count,
            "log_reopen": self._log_reopen,
            "resolver_down": self._resolver_down,
        }

    # --- the surroundings ---------------------------------------------------------------------------------------------

    def adopt(self, origins: dict[str, Part], answering: Part) -> None:
        """Those that are running. Returns when they are in use."""
        self._origins, self._resolver = origins, answering
        for name in ENDPOINTS:
            self._serves_again(name)

    def kinds(self) -> list[str]:
        return list(self._deeds)

    def run(self, kinds: list[str], until: float) -> None:
        """Each kind once, in an order that is drawn, and then any of them until the time is over."""
        todo = list(kinds)
        self._random.shuffle(todo)
        while todo or time.monotonic() < until:
            self.do(todo.pop() if todo else self._random.choice(kinds))
            rest = min(self._random.uniform(0, self._calm), max(0.0, until - time.monotonic()))
            time.sleep(rest)

    def do(self, kind: str) -> None:
        self._now()
        try:
            target = self._deeds[kind]()
        except (OSError, HTTPException) as problem:
            raise ProofError(f"{kind}: {problem!r}") from None
        self.events.append(Event(kind, self._began, time.monotonic(), target))
        self._say(f"  {self.events[-1].told(self.start)}")

    def _now(self) -> None:
        """The event begins: what was under way at this moment may fail by it."""
        self._began = time.monotonic()

    def last_events(self, before: float, count: int = 4) -> list[str]:
        """In words, those that had begun by then."""
        return [event.told(self.start) for event in self.events if event.began <= before][-count:]

    # --- configurations -----------------------------------------------------------------------------------------------

    def _put(self, text: Any, way: str) -> None:
        self._hive.write(text)
        if way == "api":
            status, answer = self._hive.api("POST", "/v1/reload")
            if status not in (200, 422):
                raise ProofError(f"POST /v1/reload answered {status}: {answer[:300]}")
        elif way == "hup":
            self._hive.hang_up()

    def _next_way(self) -> str:
        self._way += 1
        return WAYS[self._way % len(WAYS)]

    def _reload(self) -> str:
        way = self._next_way()
        self._change(self._workers, way)
        return f"{self._number} by {way}"

    def _change(self, workers: int, way: str) -> None:
        self._number += 1
        self._workers = workers
        written = time.monotonic()
        self._put(self._good(), way)
        number = self._number
        until(lambda: self._generation() == number, f"generation {number} decides")
        until(self._all_workers_have_it, f"every worker has generation {number}")
        self.history.append(InForce(number, written, time.monotonic()))

    def _good(self) -> dict[str, Any]:
        return self._hive.complete(self._scene.config(self._number, self._workers))

    def _generation(self) -> int:
        """That an answer names."""
        connection = HTTPConnection(HOST, self._scene.ports.web, timeout=LIMIT)
        try:
            connection.request("GET", "/page")
            return int(connection.getresponse().getheader("x-decided") or -1)
        except (OSError, HTTPException):
            return -1
        finally:
            connection.close()

    def _all_workers_have_it(self) -> bool:
        metrics = list(self._hive.metrics())
        wanted = next(value for name, _, value in metrics if name == "hivemesh_snapshot_version")
        have = [value for name, _, value in metrics if name == "hivemesh_worker_snapshot_version"]
        return len(have) >= self._workers and all(value >= wanted for value in have)

    def _broken_file(self) -> str:
        number = self._random.randrange(len(BREAKAGES))
        way = self._next_way()
        before = self._hive.metric("hivemesh_config_reloads_total", result="failure")
        self._put(BREAKAGES[number](self._good()), way)
        until(
            lambda: self._hive.metric("hivemesh_config_reloads_total", result="failure") > before,
            f"broken file {number} is refused",
        )
        if not self._problems():
            self.wrong.append(f"/v1/problems does not show broken file {number}")
        if self._generation() != self._number:
            self.wrong.append(f"broken file {number} changed what is in force")
        self._put(self._good(), "api")
        until(lambda: not self._problems(), "no problem is left")
        return f"{number} by {way}"

    def _problems(self) -> list[Any]:
        """Without warnings."""
        return [problem for problem in self._hive.problems() if problem.get("severity") != "warning"]

    def _worker_count(self) -> str:
        """To another number and back; what the leaving ones had is over when they are."""
        other = self._random.choice((1, 3))
        for workers in (other, WORKERS):
            self._change(workers, "api")
            until(self._is_settled, f"{workers} workers")
        return f"{WORKERS} to {other} and back"

    # --- endpoints ----------------------------------------------------------------------------------------------------

    def _next_endpoint(self) -> str:
        self._endpoint += 1
        return ENDPOINTS[self._endpoint % len(ENDPOINTS)]

    def _endpoint_kill(self) -> str:
        name = self._next_endpoint()
        self._origins[name].kill()
        known = self._known_to_be_dead(name)
        time.sleep(self._random.uniform(0.1, self._calm / 2))
        self._end_of(name, known)
        self._origins[name] = Part(origin, name, self._scene.ports, str(self._scene.folder)).__enter__()
        self._serves_again(name)
        return name

    def _endpoint_hang(self) -> str:
        """Shorter than any time limit but that of an attempt."""
        name = self._next_endpoint()
        os.kill(self._origins[name].pid, signal.SIGSTOP)
        try:
            time.sleep(self._random.uniform(2.0, 2.0 + self._calm / 3))
        finally:
            os.kill(self._origins[name].pid, signal.SIGCONT)
        self._serves_again(name)
        return name

    def _health_flap(self) -> str:
        name = self._next_endpoint()
        flag = self._scene.folder / f"flap-{name}"
        flag.touch()
        known = self._known_to_be_dead(name)
        time.sleep(self._random.uniform(0.1, self._calm))
        self._end_of(name, known)
        flag.unlink()
        self._serves_again(name)
        return name

    def _states(self, name: str) -> dict[str, str]:
        """The state of the endpoint in each service that checks it."""
        found = {}
        for endpoint in json.loads(self._hive.api("GET", "/v1/endpoints")[1]):
            service = endpoint["stats"]["service"]
            if endpoint["id"] == name and service in CHECKED:
                found[service] = endpoint["state"]
        return found

    def _known_to_be_dead(self, name: str) -> float:
        """When the API called it unhealthy."""
        until(lambda: self._states(name).get("app") == "unhealthy", f"{name} is known to be dead")
        return time.monotonic()

    def _end_of(self, name: str, known: float) -> None:
        self.dead.append(Dead("app", name, known, time.monotonic()))

    def _serves_again(self, name: str) -> None:
        until(lambda: set(self._states(name).values()) == {"healthy"}, f"{name} is healthy in all services")

    # --- processes ----------------------------------------------------------------------------------------------------

    def _is_settled(self) -> bool:
        """As many workers in service as there should be, and no process besides."""
        up = sum(value for name, _, value in self._hive.metrics() if name == "hivemesh_worker_up")
        roles = [process.role for process in of_session(self._hive.pid)]
        return up == self._workers and len(roles) == self._workers + 2

    def _worker_kill(self) -> str:
        """In turn, but worker 0 only now and then: its memory is watched for longer."""
        until(self._is_settled, "all workers are in service")
        self._worker += 1
        name = f"worker {0 if self._worker % 4 == 0 else self._workers - 1}"
        exits = self.journal.count("worker exited")
        pid = self._pid(name)
        self._now()
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.journal.count("worker exited") > exits, f"the end of {name} is noticed")
        until(self._is_settled, "all workers are in service")
        return name

    def _worker_pause(self) -> str:
        self._worker += 1
        name = f"worker {self._worker % self._workers}"
        pid = self._pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(self._random.uniform(0.3, 1.5))
        finally:
            os.kill(pid, signal.SIGCONT)
        return name

    def _pid(self, name: str) -> int:
        return until(lambda: process_of(self._hive, name), f"there is a {name}")

    def _agent_kill(self) -> str:
        self._kill_agent()
        return ""

    def _kill_agent(self) -> None:
        started = self.journal.count("started")
        pid = self._pid("agent")
        self._now()
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.journal.count("started") > started, "the next agent is in service")
        until(self._is_settled, "all processes are there")

    def _store_restart(self) -> str:
        """The agent dies among registrations. Those that were acknowledged are there afterwards, no others are."""
        sent: list[str] = []
        acknowledged: list[str] = []
        connection = HTTPConnection(HOST, self._hive.admin, timeout=LIMIT)
        wanted = self._random.randint(3, 20)
        agent = self._pid("agent")
        started = self.journal.count("started")
        try:
            for number in range(1000):
                sent.append(f"s{number}")
                body = json.dumps({"address": f"127.9.0.1:{1000 + number}"})
                fields = {"Content-Type": "application/json"}
                path = f"/v1/services/stored/endpoints/s{number}"
                if number == wanted:
                    # Killed with a registration on its way.
                    connection.putrequest("PUT", path)
                    connection.putheader("Content-Type", "application/json")
                    connection.putheader("Content-Length", str(len(body)))
                    connection.endheaders(body.encode())
                    self._now()
                    os.kill(agent, signal.SIGKILL)
                    break
                connection.request("PUT", path, body, fields)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise ProofError(f"PUT {path} was answered {answer.status}")
                acknowledged.append(sent[-1])
        finally:
            connection.close()
        until(lambda: self.journal.count("started") > started, "the next agent is in service")
        until(self._is_settled, "all processes are there")
        there = {endpoint["id"] for endpoint in json.loads(self._hive.api("GET", "/v1/services/stored/endpoints")[1])}
        if lost := set(acknowledged) - there:
            self.wrong.append(f"registrations were acknowledged and lost: {sorted(lost)}")
        if more := there - set(sent):
            self.wrong.append(f"registrations are there that nobody sent: {sorted(more)}")
        for name in there:
            self._hive.api("DELETE", f"/v1/services/stored/endpoints/{name}")
        return f"{len(acknowledged)} acknowledged"

    def _upgrade(self) -> str:
        upgraded = self.journal.count("upgraded")
        failed = self.journal.count("upgrade failed")
        before = {process.pid for process in of_session(self._hive.pid)}
        self._hive.upgrade()
        until(
            lambda: self.journal.count("upgraded") > upgraded or self.journal.count("upgrade failed") > failed,
            "the upgrade is over",
        )
        if self.journal.count("upgrade failed") > failed:
            self.wrong.append("an upgrade failed")
        # Until the former processes have ended: they have timeouts.drain for what is under way.
        until(self._is_settled, "the former processes have ended")
        after = {process.pid for process in of_session(self._hive.pid)}
        if before & after != {self._hive.pid}:
            self.wrong.append(f"after an upgrade there are still the processes {before & after}")
        return ""

    # --- the rest -----------------------------------------------------------------------------------------------------

    def _log_reopen(self) -> str:
        """Renamed and opened again; the lines of the former file are whole."""
        log = self._scene.access_log
        if not log.exists():
            return "nothing yet"
        self._rotated += 1
        former = log.with_name(f"{log.name}.{self._rotated}")
        log.rename(former)
        os.kill(self._hive.pid, signal.SIGUSR1)
        until(log.exists, "the log is opened again")
        size = -1
        while former.stat().st_size != size:  # a worker may be in the middle of a batch
            size = former.stat().st_size
            time.sleep(0.3)
        self.read_log(former)
        return f"{size:,} bytes"

    def read_log(self, former: Any) -> None:
        """Count its lines, say what is none, and let it go."""
        text = former.read_bytes()
        if text and not text.endswith(b"\n"):
            self.wrong.append(f"the access log ends in the middle of a line: {text[-80:]!r}")
        for line in text.splitlines():
            try:
                json.loads(line)
            except ValueError:
                self.wrong.append(f"the access log has the line {line[:200]!r}")
            self.log_lines += 1
        former.unlink()

    def _resolver_down(self) -> str:
        assert self._resolver is not None
        self._resolver.kill()
        time.sleep(self._random.uniform(0.5, 0.5 + self._calm))
        self._resolver = Part(resolver, self._scene.ports.resolver).__enter__()
        return ""

    def end(self) -> None:
        """Of everything that was started around it."""
        for part in self._origins.values():
            part.kill()
        if self._resolver is not None:
            self._resolver.kill()
