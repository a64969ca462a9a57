"""KServe's server as a good neighbour: on the address it is told, quiet, clear about a taken port."""

import logging
import socket
import warnings
from typing import Any

from kserve import Model, ModelServer
from kserve.errors import InvalidInput
from kserve.logging import configure_logging

from carryflow.core.errors import SettingsError


class OurFault(logging.Filter):
    """Let through what is ours to mend: a client's bad question is its own 400, not an error in our log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record is worth a line."""
        return not (record.exc_info and isinstance(record.exc_info[1], InvalidInput))


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "filters": {"our_fault": {"()": OurFault}},
    "loggers": {
        "kserve": {"handlers": ["stderr"], "filters": ["our_fault"], "level": "WARNING", "propagate": False},
        "kserve.trace": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "carryflow": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "uvicorn.access": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
    },
}
"""Warnings and errors only: a line per request costs a fifth of the throughput."""


class BoundModelServer(ModelServer):
    """Bind one address; KServe itself binds every interface."""

    def __init__(self, host: str, port: int) -> None:
        """Take the address; gRPC stays off, and one process serves, so that its metrics are whole."""
        super().__init__(
            http_port=port, workers=1, enable_grpc=False, enable_latency_logging=False, grace_period=5
        )
        self._host = host

    async def _serve(self) -> None:
        self._rest_server.config.host = self._host
        await super()._serve()


def serve_model(model: Model, host: str, port: int) -> None:
    """Serve a ready model over HTTP until the process gets SIGINT or SIGTERM; say where on standard output.

    `port` is one that `claim_port` gave.
    """
    configure_logging(LOGGING)
    warnings.filterwarnings(
        "ignore", message="ORJSONResponse is deprecated"
    )  # KServe's choice, not ours to change
    print(f"serving {model.name} on http://{host}:{port}/v1/models/{model.name}:predict", flush=True)  # noqa: T201
    BoundModelServer(host, port).start([model])


def claim_port(host: str, port: int) -> int:
    """Give the port, or any free one for 0, after making sure that it can be bound.

    Raises:
        SettingsError: it cannot; the message names the port and the way out.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"cannot serve on {host}:{port} ({error.strerror}); take another with -o serving.port=8081, "
                "or any free one with -o serving.port=0"
            ) from None
        return int(probe.getsockname()[1])
