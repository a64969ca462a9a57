"""Real servers for the contract tests, on free loopback ports."""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NotUpYet


def missing(what: str, brings_it: str) -> None:
    """Skip for want of a server on somebody's laptop, and fail for it where nobody would read of the skip."""
    reason = f"{what} is not installed; `{brings_it}` brings it"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def redis_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Lend host:port of a Redis that keeps nothing on disk."""
    server = shutil.which("redis-server")
    if server is None:
        missing("redis-server", "make servers")
    port = free_port()
    command = [str(server), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with Redis(port=port) as client, running(command, client.ping, tmp_path_factory.mktemp("redis")):
        yield f"127.0.0.1:{port}"


@pytest.fixture
def object_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Lend an s3:// prefix in an object storage on this machine, which the environment leads to."""
    if importlib.util.find_spec("moto") is None:
        missing("moto", "pip install 'moto[s3]' flask flask-cors")
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(command, lambda: httpx.get(endpoint), tmp_path):
        httpx.put(f"{endpoint}/carryflow").raise_for_status()
        yield "s3://carryflow/feast"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], answers: Callable[[], object], folder: Path) -> Iterator[None]:
    """Run a server until the block ends, from when it answers."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=folder, stdout=quiet, stderr=quiet) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    answers()
                    break
                except (NotUpYet, httpx.TransportError):
                    if process.poll() is not None or time.monotonic() > deadline:
                        pytest.fail(f"{command[0]} did not come up, its code was {process.poll()}")
                    time.sleep(0.05)
            yield
        finally:
            process.terminate()
