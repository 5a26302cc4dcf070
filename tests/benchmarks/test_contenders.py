import dataclasses
import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.compare.contenders import contender, envoy, haproxy, hivemesh, nginx
from benchmarks.compare.contenders.contender import Setup
from benchmarks.compare.traffic import ORIGIN_PORTS, Protocol, fifty_routes, numbered_routes, one_service
from proxy.config.load import load_text

SCENARIO = fifty_routes(list(range(21000, 21000 + ORIGIN_PORTS)))
ADDRESSES = [address for service in SCENARIO.services for address in service.addresses]


def setup(access_log=None):
    return Setup(SCENARIO, 20500, 20501, Path("/run/bench"), access_log)


def logged():
    return setup(Path("/run/bench/access.log"))


RENDERED = {
    "haproxy": lambda given: haproxy.render(given) + "".join(haproxy.maps(given.scenario)),
    "nginx": nginx.render,
    "envoy": lambda given: json.dumps(envoy.render(given)),
    "hivemesh": lambda given: json.dumps(hivemesh.render(given)),
}


@pytest.mark.parametrize("name", RENDERED)
def test_every_proxy_is_told_of_every_host_prefix_and_header(name):
    text = RENDERED[name](setup())

    assert all(route.host in text and route.prefix in text for route in SCENARIO.routes)
    assert "x-beta" in text or "x_beta" in text
    assert "20500" in text


@pytest.mark.parametrize("name", ["haproxy", "nginx", "hivemesh"])
def test_every_endpoint_is_named_once(name):
    text = RENDERED[name](setup())

    assert [text.count(address) for address in ADDRESSES] == [1] * len(ADDRESSES)


def test_envoy_is_told_of_every_endpoint():
    clusters = envoy.render(setup())["static_resources"]["clusters"]
    ports = [
        endpoint["endpoint"]["address"]["socket_address"]["port_value"]
        for cluster in clusters
        for endpoint in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    ]
    assert [f"127.0.0.1:{port}" for port in ports] == ADDRESSES


def test_envoy_meets_the_header_match_before_the_route_without_it():
    manager = envoy.render(setup())["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0][
        "typed_config"
    ]
    for host in manager["route_config"]["virtual_hosts"]:
        seen = set()
        for route in host["routes"]:
            prefix = route["match"]["path_separated_prefix"]
            if "headers" in route["match"]:
                assert prefix not in seen
            seen.add(prefix)
    assert sum(len(host["routes"]) for host in manager["route_config"]["virtual_hosts"]) == 50


def test_haproxy_has_fifty_routes_in_its_two_maps():
    plain, beta = haproxy.maps(SCENARIO)

    assert (plain.count("\n"), beta.count("\n")) == (40, 10)


def test_nginx_opens_and_closes_as_many_blocks():
    text = nginx.render(logged())

    assert text.count("{") == text.count("}")
    assert text.count("location /v1/") == 40
    assert text.count("map $http_x_beta") == 2


def test_hivemesh_is_configured_like_the_others():
    config = hivemesh.render(setup())

    assert config["workers"] == 1
    assert len(config["listeners"][0]["routes"]) == 50
    assert config["timeouts"]["keep_alive"] == f"{contender.CLIENT_KEEP_ALIVE}s"
    assert config["limits"]["connections"] >= contender.MAX_CONNECTIONS


@pytest.mark.parametrize("scenario", [SCENARIO, numbered_routes(100, range(21000, 21100))], ids=["fifty", "numbered"])
def test_hivemesh_accepts_its_configuration(scenario):
    given = dataclasses.replace(logged(), scenario=scenario)

    loaded = load_text(json.dumps(hivemesh.render(given)), "bench.yaml", {})

    assert loaded.problems == ()
    assert len(loaded.config.snapshot.listeners[0].routes) == len(scenario.routes)
    assert loaded.config.snapshot.services[0].pool.max_idle == contender.POOLED_PER_ENDPOINT


CHECKS = {
    haproxy.HAProxy: ("-c",),
    nginx.Nginx: ("-t",),
    envoy.Envoy: ("--mode", "validate"),
}


@pytest.mark.parametrize("with_log", [False, True], ids=["no log", "log"])
@pytest.mark.parametrize("peer", CHECKS, ids=lambda peer: peer.__name__)
def test_an_installed_peer_accepts_its_configuration(peer, with_log, tmp_path):
    proxy = peer()
    if reason := proxy.missing():
        pytest.skip(reason)
    log = tmp_path / "access.log" if with_log else None
    command = proxy.command(Setup(SCENARIO, 20500, 20501, tmp_path, log))

    done = subprocess.run([*command.argv, *CHECKS[peer]], cwd=command.cwd, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert proxy.version()[0].isdigit()


STREAM_PEERS = [
    (haproxy.HAProxy(), Protocol.TCP),
    (haproxy.HAProxy("haproxy with splice", splice=True), Protocol.TCP),
    (nginx.Nginx(streams=True), Protocol.TCP),
    (nginx.Nginx(streams=True), Protocol.UDP),
    (envoy.Envoy(), Protocol.TCP),
    (envoy.Envoy(), Protocol.UDP),
]


@pytest.mark.parametrize(
    ("proxy", "protocol"), STREAM_PEERS, ids=[f"{peer.name} {protocol.value}" for peer, protocol in STREAM_PEERS]
)
def test_an_installed_peer_accepts_its_configuration_of_streams(proxy, protocol, tmp_path):
    if reason := proxy.missing():
        pytest.skip(reason)
    scenario = one_service(protocol, [21000, 21001])
    command = proxy.command(Setup(scenario, 20500, 20501, tmp_path))

    check = CHECKS[type(proxy)]
    done = subprocess.run([*command.argv, *check], cwd=command.cwd, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    written = "".join(path.read_text() for path in tmp_path.iterdir() if path.is_file())
    assert all(str(port) in written for port in (20500, 21000, 21001))


def test_only_the_lane_with_splice_lets_haproxy_splice():
    given = Setup(one_service(Protocol.TCP, [21000, 21001]), 20500, 20501, Path("/run/bench"))

    assert "splice" in haproxy.render_tcp(given, splice=True)
    assert "splice" not in haproxy.render_tcp(given, splice=False)


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
def test_hivemesh_gets_one_listener_without_routes_for_streams(protocol):
    given = Setup(one_service(protocol, [21000, 21001]), 20500, 20501, Path("/run/bench"))

    (listener,) = hivemesh.render(given)["listeners"]

    assert (listener["protocol"], listener["service"], "routes" in listener) == (protocol.value, "store", False)
    assert load_text(json.dumps(hivemesh.render(given)), "bench.yaml", {}).problems == ()


@pytest.mark.parametrize("name", ["nginx", "envoy", "hivemesh"])
def test_the_access_log_goes_to_its_file_and_only_when_asked(name):
    assert "/run/bench/access.log" in RENDERED[name](logged())
    assert "access.log" not in RENDERED[name](setup())


def test_haproxy_logs_to_its_output_which_is_the_file():
    assert "log stdout" in haproxy.render(logged())
    assert "log stdout" not in haproxy.render(setup())


def test_the_origin_listens_on_loopback_only():
    text = nginx.render_origin([21000, 21001], "body", Path("/run/bench"))

    listens = [line.split()[1] for line in text.splitlines() if line.strip().startswith("listen")]
    assert listens == ["127.0.0.1:21000;", "127.0.0.1:21001;"]


def test_a_tree_without_the_program_is_missing_with_its_place(tmp_path):
    reason = hivemesh.Hivemesh(tmp_path, "hivemesh interpreted").missing()

    assert "hivemesh interpreted" in reason and str(tmp_path) in reason
