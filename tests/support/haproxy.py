"""HAProxy as a real peer: a proxy in front of hivemesh, or behind it.

It runs in the foreground with one thread and its own configuration; the system's service and files are not touched.
"""

from __future__ import annotations

from pathlib import Path

from ports import free_address
from program import Program, installed
from raw_client import RawClient

CONFIG = """
global
    nbthread 1
defaults
    mode {mode}
    timeout connect 5s
    timeout client 10s
    timeout server 10s
listen proxy
    bind {address} {bind}
{rules}    server one {server}
"""


def haproxy_is_installed() -> bool:
    return installed("haproxy") is not None


class Haproxy(Program):
    """Sends everything to `server`, an address with its options; `bind` are options of its own address, `rules` further
    lines of the section."""

    def __init__(
        self, directory: Path, server: str, mode: str = "tcp", bind: str = "", rules: tuple[str, ...] = ()
    ) -> None:
        self.address = free_address()
        config = directory / "haproxy.cfg"
        lines = "".join(f"    {rule}\n" for rule in rules)
        config.write_text(CONFIG.format(mode=mode, address=self.address, bind=bind, rules=lines, server=server))
        program = installed("haproxy")
        assert program is not None, "HAProxy is not installed"
        super().__init__([program, "-db", "-f", str(config)], directory, self.is_ready, "haproxy")

    def is_ready(self) -> bool:
        try:
            RawClient(self.address).close()
        except OSError:
            return False
        return True
