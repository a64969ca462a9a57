"""Fork engines out of one process that has imported everything: what `kills.py` starts and kills.

A line of JSON on standard input asks for one engine (`Life`); it is answered by lines on standard output:
{"pid": …} once it is forked, and {"pid": …, "status": …, "words": …} when it has ended, killed or not.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Life:
    """Hold what one engine is asked to do.

    Attributes:
        url: the exchange.
        clock_host: where its clock can be looked at and moved on.
        clock_port: the port there.
        key: of the account.
        secret: of the account.
        folder: where the journal is.
        seed: of its decisions.
        recover: only start, and so recover, and look twice; else decide on and on.
        style: how orders are placed.
    """

    url: str
    clock_host: str
    clock_port: int
    key: str
    secret: str
    folder: str
    seed: int
    recover: bool
    style: Literal["taker", "maker_first"]

    def line(self) -> str:
        """Return it as a line of JSON."""
        return json.dumps(asdict(self)) + "\n"


def main() -> None:
    """Fork an engine for each line, one at a time, until there are no more lines."""
    from tests.fault.lives import live, warm_up

    warm_up()
    _say({"ready": True})
    for line in sys.stdin:
        life = Life(**json.loads(line))
        words = Path(life.folder, f"words-{life.seed}-{int(life.recover)}.txt")
        pid = os.fork()
        if pid == 0:
            _be(life, words, live)
        _say({"pid": pid})
        _, status = os.waitpid(pid, 0)
        told = words.read_text() if words.exists() else ""
        _say({"pid": pid, "status": os.waitstatus_to_exitcode(status), "words": told})


def _be(life: Life, words: Path, live: Callable[[Life], None]) -> None:
    """Live that life in this process, and end the process."""
    code = 1
    try:
        os.dup2(os.open(words, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        live(life)
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _say(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)  # noqa: T201 - the protocol


if __name__ == "__main__":
    main()
