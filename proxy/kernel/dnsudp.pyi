from proxy.kernel.cells import Slot
from proxy.kernel.dnswire import Answers
from proxy.kernel.netio import Reactor, Stream

class RateLimit:
    rate: int
    def __init__(self, rate: int) -> None: ...

class DnsSocket(Stream):
    answers: Answers
    limit: RateLimit | None
    slot: Slot
    row: Slot
    def serve(self, reactor: Reactor, fd: int, answers: Answers, slot: Slot, row: Slot) -> None: ...
    def forward(self, query: bytes, client: bytes) -> None: ...
    def reply(self, client: bytes, message: bytes, received: int) -> None: ...
    def stop_reading(self) -> None: ...
