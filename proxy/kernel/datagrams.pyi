from proxy.kernel.cells import Slot
from proxy.kernel.netio import Address, BatchEnd, Reactor, Stream

class Batch(BatchEnd):
    largest: int
    def __init__(self, largest: int = 65_536) -> None: ...

class DatagramSocket(Stream):
    slot: Slot
    def on_unreachable(self, error: int) -> None: ...

class DatagramServer(DatagramSocket):
    sessions: dict[bytes, DatagramSession]
    def serve(self, batch: Batch, reactor: Reactor, fd: int, slot: Slot) -> None: ...
    def open_session(self, key: bytes) -> DatagramSession | None: ...
    def stop_reading(self) -> None: ...

class DatagramSession(DatagramSocket):
    server: DatagramServer
    key: bytes
    misplaced: bool
    bytes_in: int
    bytes_out: int
    datagrams_in: int
    datagrams_out: int
    route_slot: Slot | None
    service_slot: Slot | None
    endpoint_slot: Slot | None
    def open(self, server: DatagramServer, key: bytes, address: Address, idle: float) -> int: ...
    def limit_idle(self, idle: float) -> None: ...
    def client(self) -> bytes: ...
    def client_port(self) -> int: ...

def client_of(key: bytes) -> tuple[bytes, int]: ...
