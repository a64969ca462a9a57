"""What an online store holds, noted so that a later process sees in milliseconds whether it is still there.

Asking through Feast would be as right, but costs the seconds of its import; a run in which nothing changed
should not pay them. A mark that no longer holds is no error: the store is then filled again.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from carryflow.features.spec import FeatureSpec
from feature_repo import features_view, window_view

if TYPE_CHECKING:
    from feast import FeatureStore


def online_marks(
    store: "FeatureStore", spec: FeatureSpec, venue: str, tickers: Sequence[str]
) -> dict[str, Any]:
    """Note what the online store holds of a spec; empty for a kind of store that is not known here.

    Of SQLite the identity, size and time of its file, of Redis the instant that Feast keeps beside each row.
    """
    online = store.config.online_store
    if online.type == "sqlite":
        path = Path(store.config.repo_path or ".", online.path).resolve()
        return {"sqlite": {"path": str(path), "file": _identify(path)}}
    if online.type == "redis" and online.redis_type == "redis":
        fields = _instants(spec)
        with open_redis(online.connection_string) as client:
            rows = {key.hex(): client.hmget(key, fields) for key in _redis_keys(store, venue, tickers)}
        return {"redis": {key: [(told or b"").hex() for told in instants] for key, instants in rows.items()}}
    return {}


def marks_hold(marks: Mapping[str, Any], spec: FeatureSpec, config: Path) -> bool:
    """Say whether the online store of a Feast configuration still holds what was noted."""
    if noted := marks.get("sqlite"):
        return Path(noted["path"]).is_file() and _identify(Path(noted["path"])) == noted["file"]
    if noted := marks.get("redis"):
        from redis.exceptions import RedisError

        online = yaml.safe_load(os.path.expandvars(config.read_text()))["online_store"]
        fields = _instants(spec)
        try:
            with open_redis(online["connection_string"]) as client:
                return all(
                    [(told or b"").hex() for told in client.hmget(bytes.fromhex(key), fields)] == instants
                    for key, instants in noted.items()
                )
        except (RedisError, KeyError):
            return False
    return False


def _identify(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns]


def _instants(spec: FeatureSpec) -> list[str]:
    return [f"_ts:{view}" for view in (features_view(spec.hash), window_view(spec.hash))]


def _redis_keys(store: "FeatureStore", venue: str, tickers: Sequence[str]) -> list[bytes]:
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    return [
        serialize_entity_key(
            EntityKey(
                join_keys=["ticker", "venue"],
                entity_values=[Value(string_val=ticker), Value(string_val=venue)],
            ),
            entity_key_serialization_version=store.config.entity_key_serialization_version,
        )
        + store.project.encode()
        for ticker in tickers
    ]


def open_redis(connection_string: str) -> Any:
    """Open Redis as Feast's connection string says: host:port, then settings such as password=….

    A setting is JSON where it can be and else the text itself, as Feast reads it.
    """
    from redis import Redis

    parts = connection_string.split(",")
    host, _, port = next(part for part in parts if "=" not in part).partition(":")
    settings = (part.split("=", 1) for part in parts if "=" in part)
    return Redis(host=host, port=int(port), **{name: _read_setting(text) for name, text in settings})


def _read_setting(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
