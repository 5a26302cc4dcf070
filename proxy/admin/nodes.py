"""/v1/nodes: the machines that endpoints run on."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from discovery.changes import NodeHeartbeat, NotFound, PutNode, RemoveNode
from discovery.model import Node
from proxy.admin.answers import Answer
from proxy.admin.api import Api, encoded, taken
from proxy.admin.blocking import index_headers, index_of
from proxy.admin.services import changed
from proxy.config import bodies
from proxy.stats.reading import Reading

if TYPE_CHECKING:
    from aiohttp import web


class NodeDetail(Answer, frozen=True):
    """`state` is "gone" for one that has left or is silent; its endpoints take no requests."""

    name: str
    address: str
    metadata: dict[str, str]
    state: str  # present or gone
    endpoints: dict[str, int]  # by state


def nodes(reading: Reading) -> list[NodeDetail]:
    snapshot = reading.snapshot
    states: dict[str, Counter[str]] = {}
    for service in snapshot.services:
        for endpoint in service.endpoints:
            if endpoint.node:
                states.setdefault(endpoint.node, Counter())[reading.state(service.name, endpoint).value] += 1
    present = {node.name: node for node in snapshot.nodes}
    return [
        _detail(present.get(name) or Node(name=name), name in present, states.get(name, Counter()))
        for name in sorted({*present, *states})
    ]


def _detail(node: Node, is_present: bool, states: Counter[str]) -> NodeDetail:
    return NodeDetail(
        name=node.name,
        address=node.address,
        metadata=node.metadata,
        state="present" if is_present else "gone",
        endpoints=dict(sorted(states.items())),
    )


class Nodes:
    def __init__(self, api: Api) -> None:
        self.api = api

    def routes(self) -> list[web.RouteDef]:
        from aiohttp import web

        return [
            web.get("/v1/nodes", self.listed),
            web.get("/v1/nodes/{node}", self.get),
            web.put("/v1/nodes/{node}", self.put),
            web.delete("/v1/nodes/{node}", self.delete),
            web.put("/v1/nodes/{node}/heartbeat", self.heartbeat),
        ]

    async def listed(self, request: web.Request) -> web.Response:
        return await self.api.answered(nodes, index_headers(index_of(self.api.catalog)))

    async def get(self, request: web.Request) -> web.Response:
        name = request.match_info["node"]
        for node in nodes(self.api.reading()):
            if node.name == name:
                return encoded(node, index_headers(index_of(self.api.catalog)))
        raise NotFound(f"there is no node called {name}")

    async def put(self, request: web.Request) -> web.Response:
        body, _ = taken(bodies.read_node(await request.read(), request.match_info["node"], self.api.rules))
        return changed(await self.api.catalog.change(PutNode(node=body.node, ttl=body.ttl)))

    async def delete(self, request: web.Request) -> web.Response:
        return changed(await self.api.catalog.change(RemoveNode(name=request.match_info["node"])))

    async def heartbeat(self, request: web.Request) -> web.Response:
        return changed(await self.api.catalog.change(NodeHeartbeat(name=request.match_info["node"])))
