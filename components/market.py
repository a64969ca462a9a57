"""Market data in, features out."""

from typing import NamedTuple

from kfp import dsl

from components.images import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def ingest(home: str, venue: str, data: str) -> NamedTuple("Market", [("version", str), ("end_ms", int)]):
    """Fetch what is new at the venue; `version` names the content, `end_ms` is the close of the last bar."""
    from pathlib import Path
    from typing import NamedTuple

    from carryflow.market.data import DataSettings
    from carryflow.monitoring.progress import narrate
    from carryflow.venues.ccxt_market import VenueSettings, fetch_market

    snapshot = fetch_market(
        Path(home, "data", "crypto"),
        VenueSettings.model_validate_json(venue),
        DataSettings.model_validate_json(data),
        progress=lambda ticker, done, hours: narrate(f"{ticker}: {done} of {hours} hours"),
    )
    for coverage in snapshot.coverage:
        narrate(coverage.words)
    return NamedTuple("Market", [("version", str), ("end_ms", int)])(snapshot.version, snapshot.end_ms)


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def build_features(
    home: str, code: str, market_version: str, data: str, features: str, frame: dsl.Output[dsl.Dataset]
) -> None:
    """Join both legs of every coin into the unified frame with its features."""
    from pathlib import Path

    from carryflow.features.build import build_features
    from carryflow.features.spec import FeatureSettings
    from carryflow.market.data import DataSettings

    build_features(
        Path(home, "data", "crypto"),
        Path(frame.path),
        DataSettings.model_validate_json(data),
        FeatureSettings.model_validate_json(features),
    )
    frame.metadata.update(market_version=market_version, code=code)


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def publish_features(home: str, frame: dsl.Input[dsl.Dataset]) -> str:
    """Publish the frame in Feast, offline and online, and return the folder that it was published in."""
    from pathlib import Path

    from carryflow.store.feast import publish

    return str(publish(Path(frame.path), Path(home)))


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def training_set(
    home: str, code: str, frame: dsl.Input[dsl.Dataset], split: str, dataset: dsl.Output[dsl.Dataset]
) -> None:
    """Read the features back from Feast as of each decision, split and scale them, and cut the windows."""
    from pathlib import Path

    from carryflow.features.split import SplitSettings
    from carryflow.store.feast import training_set

    training_set(Path(frame.path), Path(home), Path(dataset.path), SplitSettings.model_validate_json(split))
    dataset.metadata.update(code=code)
