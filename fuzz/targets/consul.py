"""proxy.admin.consul.registration: any body of a registration is an endpoint, or is refused with words and a place.

What is accepted has to be an endpoint that is the same when it has been stored and read again.
"""

from __future__ import annotations

import msgspec

from discovery.model import Endpoint
from fuzz.support import expect
from proxy.admin.consul.registration import Allowed, read_registration
from proxy.config.json_tree import parse_json
from proxy.config.reading import Reading

ALLOWED = Allowed("192.0.2.1", 1.0, True)
ENCODER = msgspec.msgpack.Encoder()
DECODER: msgspec.msgpack.Decoder[Endpoint] = msgspec.msgpack.Decoder(Endpoint)

SEEDS = (
    b'{"Name":"shop","ID":"shop-1","Address":"10.0.0.1","Port":80,"Tags":["v2"],"Meta":{"zone":"a"}}',
    b'{"Name":"shop","Port":80,"Check":{"HTTP":"http://10.0.0.1:80/up?x=1","Interval":"10s","Timeout":"1s"}}',
    b'{"name":"shop","port":1,"checks":[{"TTL":"15s","Status":"passing","DeregisterCriticalServiceAfter":"90m"}]}',
    b'{"Name":"a","Port":2,"Weights":{"Passing":10,"Warning":1},"Check":{"GRPC":"[::1]:9/x","GRPCUseTLS":true,'
    b'"Interval":"1s"}}',
    b'{"Name":"a","Port":2,"Check":{"Args":["true","x"],"Interval":"1s","SuccessBeforePassing":3}}',
    b'{"Name":"a","Port":2,"Check":{"HTTP":"https://a/","Interval":"1s","Method":"PUT","Header":{"x":["y"]}}}',
)
WORDS = (
    b'"Name":',
    b'"Port":',
    b'"Check":{',
    b'"Checks":[',
    b'"HTTP":',
    b'"TCP":"[::1]:1"',
    b'"TTL":"-1s"',
    b'"Interval":"1h2m3.5s"',
    b'"Status":"critical"',
    b'"Header":{"a":["b"]}',
    b'"Args":["a"]',
    b'"Meta":{"\\ud800":""}',
    b"\\u0000",
    b"1e309",
    b"null",
    b"true",
    b"[[[[[[[[",
    b"http://[",
    b"9223372036854775808",
)


def check(data: bytes) -> None:
    reading = Reading("body")
    root = parse_json(data, reading)
    registration = read_registration(root, reading, ALLOWED) if root is not None else None
    if registration is None:
        expect(reading.problems(), "refused without a reason")
        expect(all(problem.message for problem in reading.problems()), "a problem without words", reading.problems())
        return
    endpoint = registration.endpoint
    expect(DECODER.decode(ENCODER.encode(endpoint)) == endpoint, "not what was stored", endpoint)
    expect(registration.service and endpoint.id and endpoint.address, "nothing to be found by", registration)
