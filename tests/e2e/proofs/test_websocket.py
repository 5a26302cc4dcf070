"""Many WebSockets at once (benchmarks/proofs/websocket.py)."""


def test_websockets_pass_messages_pings_and_close_codes(holds):
    holds("websockets")
