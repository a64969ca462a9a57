"""The way to Feast: one open store per home, and its noise kept off the terminal."""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from carryflow.core.errors import MarketDataError, SettingsError
from carryflow.store.published import STATE_DIR

if TYPE_CHECKING:
    from feast import FeatureStore

STORE_VARIABLE = "CARRYFLOW_FEATURE_STORE"


def store_config(config: Path | None = None) -> Path:
    """Give the Feast configuration of this process.

    `CARRYFLOW_FEATURE_STORE` names another file of `feature_repo/` than the embedded store's, or any by its
    whole path.
    """
    import feature_repo

    named = os.environ.get(STORE_VARIABLE, "feature_store.yaml")
    return config or Path(feature_repo.__path__[0]) / named


def open_store(home: Path, config: Path | None = None, registry: Path | None = None) -> "FeatureStore":
    """Open the feature store of a home: the embedded one, or as another Feast configuration says.

    Relative paths of the configuration start in a folder of the home, as they would in `feature_repo/`.

    Args:
        home: the home.
        config: Feast configuration, the embedded one by default.
        registry: file of a registry, in place of the configuration's own.

    Raises:
        MarketDataError: the registry was cut short.
    """
    from feast import FeatureStore
    from feast.repo_config import load_repo_config
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]

    state = home.absolute() / STATE_DIR
    state.mkdir(parents=True, exist_ok=True)
    told = load_repo_config(state, store_config(config))
    if registry is not None:
        told.registry.path = str(registry)
    store = FeatureStore(repo_path=str(state), config=told)
    try:
        _ = store.registry  # which is read at the first use
    except DecodeError as error:
        raise MarketDataError(
            f"the registry of the feature store in {home} cannot be read ({error}); publish the features "
            "again (`carryflow feast publish`), which makes it anew"
        ) from None
    return store


@contextmanager
def feast_at_work() -> Iterator[None]:
    """Keep Feast's progress and its libraries' deprecations off the terminal; let DuckDB go at the end.

    Raises:
        SettingsError: the Redis that is configured does not answer, or refuses.
    """
    import feast.feature_store  # noqa: F401 - sets warning filters of its own, which ours must come after
    import ibis  # type: ignore[import-untyped,unused-ignore]
    from redis.exceptions import RedisError

    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore", DeprecationWarning)
        # the training set is joined without the on-demand view, so that its speed offline is no matter
        warnings.filterwarnings("ignore", message="On demand feature view is an experimental feature")
        try:
            yield
        except RedisError as error:
            raise SettingsError(
                f"the online store does not take it ({error}); see that the Redis of CARRYFLOW_REDIS runs "
                "and has room, and do it again"
            ) from error
        finally:
            # ibis keeps its connection to the end of the process, where DuckDB reports it as leaked.
            backend, ibis.options.default_backend = ibis.options.default_backend, None
            if backend is not None:
                backend.disconnect()
