"""The table of docs/dns.md is what dig says of a running hivemesh, and dnspython understands the same.

UPDATE_DOCS=1 writes the table anew (make docs).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest
import yaml
from ports import free_address, split_address
from program import Program, installed, run_hivemesh

PAGE = Path(__file__).parents[2] / "docs/dns.md"
HEADING = "| question | code | flags | answer | authority | additional |\n|---|---|---|---|---|---|\n"

# As dig is asked: options, name, type.
QUESTIONS = [
    ("web.local", "A"),
    ("WEB.Local", "AAAA"),
    ("web.local", "SRV"),
    ("web.local", "TXT"),
    ("web.local", "SOA"),
    ("web.local", "NS"),
    ("web.local", "ANY"),
    ("web.local", "CAA"),
    ("web.local", "HTTPS"),
    ("web.service.hivemesh", "A"),
    ("v1.web.local", "A"),
    ("v1.web.local", "AAAA"),
    ("v1.web.service.hivemesh", "SRV"),
    ("2-1.web.local", "A"),
    ("2.1.web.local", "A"),
    ("old.web.local", "A"),
    ("v9.web.local", "A"),
    ("all.web.local", "A"),
    ("all.web.service.hivemesh", "AAAA"),
    ("_web._tcp.web.local", "SRV"),
    ("_web._http.service.hivemesh", "SRV"),
    ("_web._tcp.web.local", "A"),
    ("_web._tcp.web.local", "TXT"),
    ("_web._udp.web.local", "SRV"),
    ("_tcp.web.local", "SRV"),
    ("idle.local", "A"),
    ("all.idle.local", "A"),
    ("node-1.node.hivemesh", "A"),
    ("node-1.node.hivemesh", "TXT"),
    ("node-2.node.hivemesh", "A"),
    ("node-2.node.hivemesh", "AAAA"),
    ("node-3.node.hivemesh", "A"),
    ("0a000001.addr.hivemesh", "A"),
    ("0a000001.addr.hivemesh", "AAAA"),
    ("fd000000000000000000000000000003.addr.hivemesh", "AAAA"),
    ("ns.hivemesh", "A"),
    ("hivemesh", "SOA"),
    ("hivemesh", "NS"),
    ("hivemesh", "A"),
    ("service.hivemesh", "A"),
    ("db.service.hivemesh", "A"),
    ("hivemesh", "AXFR"),
    ("-x 10.0.0.1", "PTR"),
    ("-x 10.0.0.100", "PTR"),
    ("-x fd00::3", "PTR"),
    ("web.example.com", "A"),
    ("web.example.com", "AAAA"),
    ("no.example.com", "A"),
    ("+norecurse web.example.com", "A"),
    ("-c CH version.bind", "TXT"),
    ("+opcode=NOTIFY web.local", "SOA"),
    ("+edns=1 +noednsnegotiation web.local", "A"),
]


class Answer(NamedTuple):
    """Sections are sorted records "name TTL type data"."""

    code: str
    flags: str
    answer: list[str]
    authority: list[str]
    additional: list[str]

    def row(self, question: str, name: str) -> str:
        """Records of the name that was asked for are shown without it."""
        cells = [f"`{question}`", self.code, self.flags]
        for section in (self.answer, self.authority, self.additional):
            cells.append("<br>".join(line.removeprefix(f"{name}. ") for line in section))
        return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a hivemesh with the page's configuration."""
    if not installed("dnsmasq") or not installed("dig"):
        pytest.skip("dnsmasq and dig are not installed")
    directory = tmp_path_factory.mktemp("dns")
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    config = yaml.safe_load(text)
    address, resolver, admin = free_address(), free_address(), free_address()
    config["dns"] |= {"address": address, "forward": resolver}
    config |= {"admin": {"address": admin}, "workers": 1}
    command = [
        installed("dnsmasq") or "",
        *("--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--log-facility=-", "--user="),
        *("--bind-interfaces", "--listen-address=127.0.0.1", f"--port={split_address(resolver)[1]}"),
        *(f"--pid-file={directory}/pid", "--local-ttl=60", "--local=/example.com/"),
        "--host-record=web.example.com,192.0.2.1",
    ]
    with (
        Program(
            command, directory, lambda: asked(resolver, "web.example.com", "A", "udp").code == "NOERROR", "dnsmasq"
        ),
        run_hivemesh(yaml.safe_dump(config), directory, admin),
    ):
        yield address


def asked(address: str, question: str, rtype: str, protocol: str) -> Answer:
    """What dig prints."""
    host, port = split_address(address)
    over = {"udp": ["+notcp", "+ignore"], "tcp": ["+tcp"]}[protocol]
    command = ["dig", f"@{host}", "-p", str(port), "-r", "+noall", "+comments", "+answer", "+authority", "+additional"]
    command += ["+tries=1", "+time=5", "+nocookie", *over, *question.split(), *([] if "-x" in question else [rtype])]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    status = re.search(r"status: (\w+), id", done.stdout)
    flags = re.search(r"flags: ([a-z ]*);", done.stdout)
    if status is None or flags is None:
        return Answer("no answer", "", [], [], [])
    sections: dict[str, list[str]] = {"ANSWER": [], "AUTHORITY": [], "ADDITIONAL": []}
    current: list[str] = []
    for line in done.stdout.splitlines():
        if heading := re.fullmatch(r";; (\w+) SECTION:", line):
            current = sections[heading[1]]
        elif line and not line.startswith(";"):
            name, ttl, _, kind, data = line.split(None, 4)
            current.append(f"{name} {_original(name, int(ttl))} {kind} {data}")
    return Answer(status[1], flags[1].strip(), *(sorted(lines) for lines in sections.values()))


def understood(address: str, name: str, rtype: str, protocol: str) -> Answer:
    """What dnspython makes of the answer to the same question."""
    host, port = split_address(address)
    query = dns.message.make_query(name, rtype, use_edns=0)
    send = dns.query.udp if protocol == "udp" else dns.query.tcp
    message = send(query, host, 5, port, one_rr_per_rrset=True)
    flags = message.flags & (dns.flags.QR | dns.flags.AA | dns.flags.TC | dns.flags.RD | dns.flags.RA | dns.flags.AD)
    sections = (
        sorted(
            f"{rrset.name} {_original(str(rrset.name), rrset.ttl)} {dns.rdatatype.to_text(rrset.rdtype)} {rrset[0]}"
            for rrset in section
        )
        for section in (message.answer, message.authority, message.additional)
    )
    return Answer(dns.rcode.to_text(message.rcode()), dns.flags.to_text(flags).lower(), *sections)


def _original(name: str, ttl: int) -> int:
    """What the resolver said before it counted down."""
    return 60 if name.endswith("example.com.") and 30 < ttl <= 60 else ttl


@pytest.fixture(scope="module")
def over_udp(server: str) -> dict[tuple[str, str], Answer]:
    return {(question, rtype): asked(server, question, rtype, "udp") for question, rtype in QUESTIONS}


def table(answers: dict[tuple[str, str], Answer]) -> str:
    rows = []
    for (question, rtype), answer in answers.items():
        shown = question if "-x" in question else f"{question} {rtype}"
        rows.append(answer.row(shown, question.split()[-1]))
    return "\n".join(rows) + "\n"


def test_the_table_is_what_dig_says(over_udp: dict[tuple[str, str], Answer]) -> None:
    made = table(over_udp)
    before, _, written = PAGE.read_text().partition(HEADING)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(before + HEADING + made)
    else:
        assert written.splitlines() == made.splitlines()


def test_the_answer_is_the_same_over_tcp(server: str, over_udp: dict[tuple[str, str], Answer]) -> None:
    for (question, rtype), answer in over_udp.items():
        assert asked(server, question, rtype, "tcp") == answer, question


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_another_reader_understands_the_same(
    server: str, over_udp: dict[tuple[str, str], Answer], protocol: str
) -> None:
    for (name, rtype), answer in over_udp.items():
        if " " not in name and rtype != "AXFR":  # a plain question
            assert understood(server, name, rtype, protocol) == answer, name
