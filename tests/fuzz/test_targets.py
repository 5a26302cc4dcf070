"""The targets of fuzz/ without an engine: the corpus, what once led to a mistake, and some thousand inputs by chance.

`make fuzz` is the long form. What is planted here shows that the targets would tell.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from fuzz.corpus import MOST_BYTES, MOST_FILES, files_of
from fuzz.mutate import mutated
from fuzz.support import Finding, exact
from fuzz.targets import BY_NAME, TARGETS

SEED = 20_240_817


def module_of(name: str) -> ModuleType:
    return importlib.import_module(f"fuzz.targets.{name}")


def run(name: str, executions: int) -> None:
    """Inputs made of the target's seeds and corpus by chance, the same ones every time."""
    module = module_of(name)
    rng = random.Random(SEED)
    corpus = [*module.SEEDS, *files_of(name).values()]
    for _ in range(executions):
        data = mutated(rng, corpus, module.WORDS, BY_NAME[name].largest)
        try:
            module.check(data)
        except Exception as error:
            error.add_note(f"fuzz.targets.{name}.check({data!r})")
            raise


@pytest.mark.parametrize("name", BY_NAME)
def test_the_corpus_leads_to_no_mistake(name: str) -> None:
    module = module_of(name)
    corpus = files_of(name)
    for data in module.SEEDS:
        module.check(data)
    for file, data in corpus.items():
        try:
            module.check(data)
        except Exception as error:
            error.add_note(f"fuzz/corpus/{name}/{file}")
            raise
    assert len(corpus) <= MOST_FILES
    assert sum(map(len, corpus.values())) <= MOST_BYTES


@pytest.mark.parametrize("name", BY_NAME)
def test_some_inputs_by_chance(name: str) -> None:
    run(name, BY_NAME[name].in_ci)


def test_every_target_has_its_file_and_says_whose_bytes_it_reads() -> None:
    for target in TARGETS:
        module = module_of(target.name)
        assert module.SEEDS and callable(module.check)
        assert max(map(len, module.SEEDS)) <= target.largest
        assert target.says


# --- the targets would tell -------------------------------------------------------------------------------------------


def accepts(wrong: bytes, instead: bytes, scan: Callable[..., int]) -> Callable[..., int]:
    """A scanner that takes one byte for another."""

    def scanned(source: Any, head: Any, limits: Any) -> int:
        data = source.peek(source.start, len(source))
        return scan(exact(data.replace(wrong, instead)), head, limits)

    return scanned


@pytest.mark.parametrize(
    ("name", "wrong", "instead"),
    [
        ("request_head", b"\x0b", b"-"),
        ("request_head", b"Host:", b"Xost:"),
        ("request_head", b"chunked", b"blocked"),
        ("response_head", b"\x0b", b"-"),
        ("response_head", b" 204", b" 200"),
    ],
)
def test_a_scanner_that_takes_what_h11_does_not(
    monkeypatch: pytest.MonkeyPatch, name: str, wrong: bytes, instead: bytes
) -> None:
    module = module_of(name)
    scanner = f"scan_{name.removesuffix('_head')}"
    monkeypatch.setattr(module, scanner, accepts(wrong, instead, getattr(module, scanner)))
    with pytest.raises(Finding):
        run(name, 20_000)


def test_a_scanner_that_judges_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("request_head")
    scan = module.scan_request

    def hasty(source: Any, head: Any, limits: Any) -> int:
        return int(scan(source, head, limits)) or (
            -4 if source.peek(source.start, len(source)).endswith(b"HTTP/") else 0
        )

    monkeypatch.setattr(module, "scan_request", hasty)
    with pytest.raises(Finding, match=r"needs more|how it came"):
        run("request_head", 20_000)


def test_a_body_that_ends_before_its_trailers(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("body")

    reader_class = module.BodyReader

    class Hasty:
        def __init__(self, *given: Any) -> None:
            self.reader = reader_class(*given)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.reader, name)

        def next(self, buffer: Any) -> int:
            if self.reader.framing == module.CHUNKED and buffer.find(b"0\r\n", 0) == buffer.start:
                buffer.consume(3)
                self.reader.begin(module.LENGTH, 0)
            return int(self.reader.next(buffer))

    monkeypatch.setattr(module, "BodyReader", Hasty)
    with pytest.raises(Finding):
        run("body", 20_000)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: answer[1::-1] + answer[2:],
        lambda answer: answer.lower(),
        lambda answer: answer[:3] + bytes((answer[3] & 0xF0,)) + answer[4:],
        lambda answer: answer[:-1],
        lambda answer: answer + bytes(600),
    ],
    ids=["another id", "another spelling", "no code", "cut off", "too large"],
)
def test_a_dns_server_that_answers_wrongly(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[bytes], bytes]) -> None:
    module = module_of("dns_query")

    class Spoilt(module.Table):  # type: ignore[misc, name-defined]
        def answer(self, query: bytes, row: Any, stream: bool = False) -> bytes | None:
            answer = super().answer(query, row, stream)
            return spoil(answer) if answer else answer

    monkeypatch.setattr(module, "TABLE", Spoilt())
    with pytest.raises(Exception):  # noqa: B017 what dnslib and dnspython raise is theirs
        run("dns_query", 2_000)


def test_an_answer_of_a_resolver_that_is_passed_on_with_wrong_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("dns_answer")
    take = module.taken_over

    def spoilt(wire: bytes, message: Any, settings: Any) -> Any:
        answered = take(wire, message, settings)
        return answered._replace(wire=answered.wire[:7] + bytes((answered.wire[7] + 1 & 255,)) + answered.wire[8:])

    monkeypatch.setattr(module, "taken_over", spoilt)
    with pytest.raises(ValueError, match=r"ends early|beyond|points|kind"):
        run("dns_answer", 2_000)


def test_a_proxy_header_read_the_wrong_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("proxy_header")
    parse = module.parse

    def swapped(data: bytes) -> Any:
        found = parse(data)
        if isinstance(found, module.Complete):
            return found._replace(source=found.destination, destination=found.source)
        return found

    monkeypatch.setattr(module, "parse", swapped)
    with pytest.raises(Finding):
        run("proxy_header", 2_000)


def test_a_hello_whose_name_is_not_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("client_hello")
    parse = module.parse

    def spoilt(data: bytes, limit: int) -> Any:
        found = parse(data, limit)
        return found._replace(sni=found.sni.upper()) if isinstance(found, module.Complete) else found

    monkeypatch.setattr(module, "parse", spoilt)
    with pytest.raises(Finding):
        run("client_hello", 2_000)


def test_a_protocol_that_is_told_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("detect")
    detect = module.detect
    monkeypatch.setattr(module, "detect", lambda data: module.Kind.OTHER if data == b"G" else detect(data))
    with pytest.raises(Finding):
        run("detect", 20_000)


def test_a_writer_that_lets_a_field_of_one_hop_through(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("emit")
    write = module.write_request_head

    def spoilt(out: Any, head: Any, *given: Any) -> None:
        write(out, head, *given)
        kept = head.get(b"keep-alive") or head.get(b"te")
        if kept is not None:
            written = out.take()
            out.append(written[:-2] + b"Connection: " + kept + b"\r\n\r\n")

    monkeypatch.setattr(module, "write_request_head", spoilt)
    with pytest.raises(Finding):
        run("emit", 5_000)


def test_a_chunk_of_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("emit")
    write = module.write_chunk
    monkeypatch.setattr(
        module, "write_chunk", lambda out, source, at, count: write(out, source, at, count - (count > 40))
    )
    with pytest.raises(Finding):
        run("emit", 5_000)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (b"GET /a", b"PUT /a"),
        (b"GET /a", b"GET /b"),
        (b"\r\n\r\n", b"\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
        (b"hello", b"hallo"),
        (b"Content-Length: 5", b"Content-Length: 4"),
        (b"ello", b"ello\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ],
)
def test_an_origin_that_receives_what_was_not_sent(monkeypatch: pytest.MonkeyPatch, wrong: bytes, right: bytes) -> None:
    module = module_of("exchange")
    check = module.check_origins
    monkeypatch.setattr(
        module,
        "check_origins",
        lambda wanted, received: check(wanted, [each.replace(wrong, right) for each in received]),
    )
    with pytest.raises(Finding):
        for seed in module.SEEDS:
            module.check(seed)


def test_a_client_that_receives_an_answer_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("exchange")
    check = module.check_client
    monkeypatch.setattr(module, "check_client", lambda wanted, got: check(wanted, got + module.OK * 2))
    with pytest.raises(Finding):
        for seed in module.SEEDS:
            module.check(seed)


@pytest.mark.parametrize(
    ("name", "rule", "spoilt"),
    [
        ("paths", "normalise", lambda path, *given: path.replace(b"//", b"/")),
        ("paths", "normalise", lambda path, *given: path),
        ("cookies", "cookie_values", lambda field, name: [each for each in (field.partition(name + b"=")[2],) if each]),
        ("cookies", "continues_trace", lambda before, after: len(before) == 55),
        ("units", "parse_duration", lambda text: float(text.rstrip("smh"))),
    ],
)
def test_a_rule_that_is_simpler_than_it_may_be(
    monkeypatch: pytest.MonkeyPatch, name: str, rule: str, spoilt: Callable[..., Any]
) -> None:
    monkeypatch.setattr(module_of(name), rule, spoilt)
    with pytest.raises((Finding, ValueError)):
        run(name, 5_000)
