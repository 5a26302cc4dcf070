"""docs/guide/dns.md: its configurations have no problem, and resolvers put in front as it says ask hivemesh."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dns_origin import dig
from ports import free_address, split_address
from program import Program, installed, run_hivemesh

from proxy.config.load import load_text

GUIDE = (Path(__file__).parents[3] / "docs/guide/dns.md").read_text()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

CONFIG = """
services:
  web:
    domain: shop.internal
    endpoints: [ { address: "10.0.0.1:80" }, { address: "10.0.0.2:80" } ]
"""


@pytest.mark.parametrize("text", [text for language, text in BLOCK.findall(GUIDE) if language == "yaml"])
def test_its_configurations_are_right(text: str) -> None:
    assert [str(problem) for problem in load_text(text, "guide.yaml").problems] == []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    address, admin = free_address(), free_address()
    config = yaml.safe_load(CONFIG) | {"dns": {"address": address}, "admin": {"address": admin}, "workers": 1}
    with run_hivemesh(yaml.safe_dump(config), tmp_path_factory.mktemp("hivemesh"), admin):
        yield address


def asks_hivemesh(address: str) -> bool:
    return (
        dig(address, "shop.internal") == dig(address, "web.service.hivemesh") == ["10.0.0.1", "10.0.0.2"]
        and dig(address, "no.shop.internal") == []
    )


def test_dnsmasq_in_front(server: str, tmp_path: Path) -> None:
    if not installed("dnsmasq"):
        pytest.skip("dnsmasq is not installed")
    (lines,) = [text for _, text in BLOCK.findall(GUIDE) if text.startswith("server=/")]
    host, port = split_address(server)
    (tmp_path / "conf").write_text(lines.replace("127.0.0.1#8600", f"{host}#{port}"))
    front = free_address()
    command = [
        installed("dnsmasq") or "",
        *("--keep-in-foreground", f"--conf-file={tmp_path}/conf", "--no-resolv", "--no-hosts", "--log-facility=-"),
        *("--user=", "--bind-interfaces", "--listen-address=127.0.0.1", f"--port={split_address(front)[1]}"),
        f"--pid-file={tmp_path}/pid",
    ]
    with Program(command, tmp_path, lambda: asks_hivemesh(front), "dnsmasq"):
        assert dig(front, "1.0.0.10.in-addr.arpa", "PTR") == ["shop.internal."]


UNBOUND = """
server:
    interface: 127.0.0.1
    port: {port}
    do-daemonize: no
    username: ""
    chroot: ""
    pidfile: ""
    use-syslog: no
    directory: "{directory}"
    {options}
    domain-insecure: "internal"
    domain-insecure: "hivemesh"
remote-control:
    control-enable: no
stub-zone:
    name: "internal"
    {address}
stub-zone:
    name: "hivemesh"
    {address}
"""


def test_unbound_in_front(server: str, tmp_path: Path) -> None:
    if not installed("unbound"):
        pytest.skip("unbound is not installed")
    front = free_address()
    # What the guide says of it, in the words of its configuration.
    for words in ("`stub-addr: 127.0.0.1@8600`", "`do-not-query-localhost: no`", "`domain-insecure`"):
        assert words in GUIDE
    host, port = split_address(server)
    (tmp_path / "conf").write_text(
        UNBOUND.format(
            port=split_address(front)[1],
            directory=tmp_path,
            options="do-not-query-localhost: no",
            address=f"stub-addr: {host}@{port}",
        )
    )
    command = [installed("unbound") or "", "-d", "-p", "-c", f"{tmp_path}/conf"]
    with Program(command, tmp_path, lambda: asks_hivemesh(front), "unbound"):
        assert dig(front, "shop.internal", "TXT") == []
