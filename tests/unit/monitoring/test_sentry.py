"""What leaves the house when something breaks."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import sentry_sdk

from carryflow.monitoring.sentry import scrub, start_error_reporting


class Inbox(BaseHTTPRequestHandler):
    """Take what a Sentry server would take."""

    received: list[bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append(
            gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        )
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def inbox() -> Iterator[tuple[str, list[bytes]]]:
    handler = type("Inbox", (Inbox,), {"received": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://public@127.0.0.1:{server.server_port}/1", handler.received
    sentry_sdk.get_client().close(timeout=1)
    sentry_sdk.get_global_scope().set_client(None)
    server.shutdown()
    server.server_close()


def fail_to_order(api_secret: str) -> None:
    raise RuntimeError(f"POST /order?qty=1&signature={api_secret} failed")


def test_nothing_starts_without_a_dsn() -> None:
    assert start_error_reporting({"SENTRY_DSN": " "}, "predictor", "0.1.0") is False
    assert not sentry_sdk.get_client().is_active()


def test_an_error_arrives_without_credentials_and_without_local_variables(
    inbox: tuple[str, list[bytes]],
) -> None:
    dsn, received = inbox
    assert start_error_reporting({"SENTRY_DSN": dsn}, "predictor", "0.1.0") is True
    try:
        fail_to_order("-".join(["topsecret", "42"]))  # joined here, so that no line of source holds it
    except RuntimeError as error:
        sentry_sdk.capture_exception(error)
    sentry_sdk.flush(timeout=5)
    sent = b"".join(received).decode()
    assert "signature=[scrubbed] failed" in sent
    assert "carryflow@0.1.0" in sent
    assert '"component":"predictor"' in sent
    assert "topsecret-42" not in sent


@pytest.mark.parametrize(
    "name", ["apiKey", "X-MBX-APIKEY", "secret", "Authorization", "password", "listen_token", "Cookie"]
)
def test_values_under_telling_names_go_however_deep_they_lie(name: str) -> None:
    event = {"request": {"headers": [{name: "v-1"}]}, "message": "kept"}
    assert scrub(event) == {"request": {"headers": [{name: "[scrubbed]"}]}, "message": "kept"}
