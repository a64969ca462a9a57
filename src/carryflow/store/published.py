"""What a home has published: a card per feature spec, the specs of model versions, where the tables lie.

```
<home>/data/processed/feast/
├── <spec hash>/published.json   which frame was published, when, and what the online store then held
├── <spec hash>/features.parquet every version of every row          (or under CARRYFLOW_OFFLINE)
├── <spec hash>/windows.parquet  newest windows                      (or under CARRYFLOW_OFFLINE)
└── versions.json                feature spec of each model version that is served
<home>/feature_repo_state/      Feast's registry and, with SQLite, the online store
```

Nothing here needs Feast, whose import takes seconds.
"""

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import CarryflowError, SchemaMismatchError
from carryflow.core.lock import lock
from carryflow.features.spec import FeatureSpec

STATE_DIR = "feature_repo_state"
CARD = "published.json"
VERSIONS = "versions.json"

OFFLINE_VARIABLE = "CARRYFLOW_OFFLINE"
"""Prefix in object storage, such as s3://carryflow/feast, for the published tables instead of the home."""


@dataclass(frozen=True, slots=True)
class PublishedCard:
    """Say what was published last of one spec.

    Attributes:
        spec: the feature spec.
        venue: where the bars come from.
        tickers: coins whose rows are published.
        stamp: content of the frame, and the store that it went to.
        market_version: hash of the market behind the frame.
        end_ms: newest row that is served (UTC, milliseconds).
        frame_end_ms: newest row of the newest frame that was published (UTC, milliseconds).
        pushed_ms: newest row that a stream pushed (UTC, milliseconds), 0 where none did.
        online: what the online store then held, as `store.online_marks` reads it; empty where it cannot.
    """

    spec: FeatureSpec
    venue: str
    tickers: tuple[str, ...]
    stamp: str
    market_version: str
    end_ms: int
    frame_end_ms: int = 0
    pushed_ms: int = 0
    online: Mapping[str, Any] = field(default_factory=dict)


def processed_dir(home: Path) -> Path:
    """Give the folder of a home that holds what was made of its market."""
    return home.absolute() / "data" / "processed"


def published_dir(home: Path) -> Path:
    """Give the folder of a home that holds what was published of it."""
    return processed_dir(home) / "feast"


def published_location(home: Path) -> str:
    """Give the folder, or the s3:// prefix, of the published tables."""
    return os.environ.get(OFFLINE_VARIABLE, "").rstrip("/") or str(published_dir(home))


def read_card(home: Path, spec_hash: str) -> PublishedCard | None:
    """Read the card of a spec, or None where it was never published or its publication was cut short.

    Raises:
        SchemaMismatchError: the card cannot be read.
    """
    path = published_dir(home) / spec_hash / CARD
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_text())
        spec = FeatureSpec.from_json(json.dumps(stored["spec"]))
        card = PublishedCard(**stored | {"spec": spec, "tickers": tuple(stored["tickers"])})
    except (ValueError, KeyError, TypeError, CarryflowError) as error:
        raise SchemaMismatchError(
            f"{path} is no card of a publication ({error}); remove it and publish again"
        ) from error
    card.spec.require(spec_hash, str(path))
    return card


def write_card(home: Path, card: PublishedCard) -> None:
    """Write the card of a publication that is complete."""
    stored = {
        "spec": json.loads(card.spec.to_json()),
        **{name: value for name, value in asdict(card).items() if name != "spec"},
    }
    with write_atomically(published_dir(home) / card.spec.hash / CARD) as temporary:
        temporary.write_text(json.dumps(stored, indent=2) + "\n")


def published_specs(home: Path) -> tuple[FeatureSpec, ...]:
    """Give the specs that are published in a home, sorted by their hash; none where nothing is."""
    cards = (read_card(home, path.parent.name) for path in sorted(published_dir(home).glob(f"*/{CARD}")))
    return tuple(card.spec for card in cards if card is not None)


def published_versions(home: Path) -> dict[str, FeatureSpec]:
    """Give the feature spec of each model version that is served from a home.

    Raises:
        SchemaMismatchError: the file cannot be read.
    """
    path = published_dir(home) / VERSIONS
    if not path.is_file():
        return {}
    try:
        stored = json.loads(path.read_text())
        return {version: FeatureSpec.from_json(json.dumps(spec)) for version, spec in stored.items()}
    except (ValueError, AttributeError, CarryflowError) as error:
        raise SchemaMismatchError(f"{path} does not list versions ({error}); promote them again") from error


def record_version(home: Path, version: str, spec: FeatureSpec) -> None:
    """Record which feature spec a model version reads; a version never changes its spec.

    Raises:
        SchemaMismatchError: the version is recorded with another spec.
    """
    versions = published_versions(home)
    if version in versions:
        versions[version].require(spec.hash, f"version {version}")
        return
    stored = {name: json.loads(one.to_json()) for name, one in (versions | {version: spec}).items()}
    with write_atomically(published_dir(home) / VERSIONS) as temporary:
        temporary.write_text(json.dumps(stored, indent=2) + "\n")


def store_lock(home: Path) -> AbstractContextManager[None]:
    """Let one process at a time change what is published."""
    return lock(home / STATE_DIR / ".lock")
