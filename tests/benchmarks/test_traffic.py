import pytest

from benchmarks.compare.traffic import BETA_SERVICE, ORIGIN_PORTS, VISITED, fifty_routes, numbered_routes

PORTS = list(range(21000, 21000 + ORIGIN_PORTS))


def serving(scenario, request):
    """The routes a request matches, by the plainest reading; the one with a header match comes first."""
    found = [
        route
        for route in scenario.routes
        if route.host == request.host
        and request.target.startswith(route.prefix + "/")
        and (route.header is None or request.beta)
    ]
    return sorted(found, key=lambda route: route.header is None)


def test_there_are_fifty_routes_over_five_hosts_ten_of_them_with_a_header_match():
    scenario = fifty_routes(PORTS)

    assert len(scenario.routes) == 50
    assert len({route.host for route in scenario.routes}) == 5
    assert sum(route.header is not None for route in scenario.routes) == 10
    assert len({route.name for route in scenario.routes}) == 50


def test_every_origin_port_is_one_endpoint():
    addresses = [address for service in fifty_routes(PORTS).services for address in service.addresses]

    assert addresses == [f"127.0.0.1:{port}" for port in PORTS]


def test_every_request_is_served_and_all_services_get_some():
    scenario = fifty_routes(PORTS)
    services = {serving(scenario, request)[0].service for request in scenario.requests}

    assert services == {service.name for service in scenario.services}
    assert any(serving(scenario, request)[0].service == BETA_SERVICE for request in scenario.requests)


@pytest.mark.parametrize("count", [10, 1000, 10_000])
def test_a_numbered_table_has_as_many_routes_and_endpoints_and_each_request_fits_one_route(count):
    scenario = numbered_routes(count, PORTS)

    assert len(scenario.routes) == len(scenario.services) == count
    assert len({(route.host, route.prefix) for route in scenario.routes}) == count
    assert 10 <= len(scenario.requests) <= VISITED
    assert all(len(serving(scenario, request)) == 1 for request in scenario.requests)


def test_too_few_origin_ports_are_refused():
    with pytest.raises(ValueError, match="11 origin ports, expected 12"):
        fifty_routes(PORTS[:-1])
