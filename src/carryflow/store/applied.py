"""Feast's registry: replaced whole, and known to be there without the seconds of Feast's import.

Feast writes a registry file in place: a process that is killed meanwhile leaves a half, which parses or does
not. So a registry in a file is applied beside its place and moved there, and a note beside it says what was
applied and what the file then held. A registry elsewhere is written by Feast alone.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version as installed_version
from pathlib import Path

import yaml

from carryflow.core.atomic import write_atomically
from carryflow.features.spec import FeatureSpec
from carryflow.store.connection import open_store, store_config
from carryflow.store.published import STATE_DIR, published_location

NOTE = "applied.json"


def apply_definitions(
    home: Path, specs: Iterable[FeatureSpec], versions: Mapping[str, FeatureSpec], config: Path | None
) -> None:
    """Apply the definitions of these specs and model versions: to the registry, and to the online store.

    A registry that cannot be read is made anew.
    """
    from feature_repo.services import define

    specs = tuple(specs)
    path = _registry_file(home, config)
    if path is None:
        open_store(home, config).apply(define(published_location(home), specs, versions))
        return
    with write_atomically(path) as temporary:
        if _is_readable(path):
            shutil.copyfile(path, temporary)  # it may hold what somebody else applied
        store = open_store(home, config, registry=temporary)
        store.apply(define(published_location(home), specs, versions))
    with write_atomically(home / STATE_DIR / NOTE) as temporary:
        note = {"definitions": _name(home, specs, versions), "registry": _digest(path)}
        temporary.write_text(json.dumps(note, indent=2) + "\n")


def registry_stands(
    home: Path, specs: Iterable[FeatureSpec], versions: Mapping[str, FeatureSpec], config: Path | None
) -> bool:
    """Say whether these very definitions were applied, and the registry file is as it was then."""
    path, note = _registry_file(home, config), home / STATE_DIR / NOTE
    if path is None or not path.is_file() or not note.is_file():
        return False
    try:
        noted = json.loads(note.read_text())
    except ValueError:
        return False
    return bool(noted == {"definitions": _name(home, specs, versions), "registry": _digest(path)})


def _name(home: Path, specs: Iterable[FeatureSpec], versions: Mapping[str, FeatureSpec]) -> str:
    """Name definitions by all that they are made from, the code of the repository included."""
    import feature_repo

    code = sorted(Path(feature_repo.__path__[0]).glob("*.py"))
    told = (
        published_location(home),
        os.environ.get("AWS_ENDPOINT_URL", ""),
        installed_version("feast"),
        sorted({spec.to_json() for spec in (*specs, *versions.values())}),
        sorted((version, spec.hash) for version, spec in versions.items()),
        [_digest(path) for path in code],
    )
    return hashlib.sha256(repr(told).encode()).hexdigest()[:32]


def _registry_file(home: Path, config: Path | None) -> Path | None:
    """Give the registry's file, or None where a configuration keeps it elsewhere."""
    told = yaml.safe_load(os.path.expandvars(store_config(config).read_text())).get("registry", {})
    told = {"path": told} if isinstance(told, str) else told
    path = str(told.get("path", ""))
    if told.get("registry_type", "file") != "file" or not path or "://" in path:
        return None
    return (home.absolute() / STATE_DIR / path).resolve()


def _is_readable(path: Path) -> bool:
    from feast.protos.feast.core.Registry_pb2 import Registry
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]

    if not path.is_file():
        return False
    try:
        Registry().ParseFromString(path.read_bytes())
    except DecodeError:
        return False
    return True


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
