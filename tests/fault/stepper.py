"""A venue's clock for processes beside it: whoever connects may look at it, and move it on."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class RemoteClock:
    """Look at a venue's clock, and move it on, over a connection to `lend_clock`."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._line = socket.create_connection(address)
        self._line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._line.makefile("r")

    def now_ms(self) -> int:
        """Return the venue's clock."""
        return self.step(0)

    def step(self, ms: int) -> int:
        """Move it on by so much, and return what it shows."""
        self._line.sendall(f"{ms}\n".encode())
        return int(self._answers.readline())


@contextmanager
def lend_clock(now_ms: Callable[[], int], step: Callable[[int], object]) -> Iterator[tuple[str, int]]:
    """Let other processes look at a clock and move it on until the block ends; yields where."""
    turn = threading.Lock()

    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            for line in self.rfile:
                with turn:
                    if ms := int(line):
                        step(ms)
                    told = now_ms()
                self.wfile.write(f"{told}\n".encode())

        def finish(self) -> None:
            """Leave nothing unsaid: who listened may have been killed."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing of a line that was cut: whoever held it was killed, as is the point."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, name="clock", daemon=True).start()
        try:
            yield server.server_address[:2]
        finally:
            server.shutdown()
