"""Market data in, features out."""

from typing import NamedTuple

from kfp import dsl

from components.images import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def ingest(home: str, venue: str, data: str, coverage: dsl.Output[dsl.Artifact]) -> NamedTuple(
    "Market", [("version", str), ("end_ms", int)]
):
    """Fetch what is new at the venue; `version` names the content, `end_ms` is the close of the last bar.

    `coverage` is the ledger of what is there, what is known to be missing and why.
    """
    from pathlib import Path
    from typing import NamedTuple

    from carryflow.market.coverage import survey_folder, write_ledger
    from carryflow.market.data import DataSettings
    from carryflow.monitoring.progress import narrate
    from carryflow.venues.ccxt_market import VenueSettings, fetch_market

    market, settings = Path(home, "data", "crypto"), DataSettings.model_validate_json(data)
    snapshot = fetch_market(
        market,
        VenueSettings.model_validate_json(venue),
        settings,
        progress=lambda ticker, done, bars: narrate(f"{ticker}: {done} of {bars} bars"),
    )
    ledgers = survey_folder(market, settings)
    write_ledger(Path(coverage.path), ledgers)
    coverage.metadata.update(version=snapshot.version, **{ledger.ticker: ledger.words for ledger in ledgers})
    for ledger in ledgers:
        narrate(ledger.words)
    return NamedTuple("Market", [("version", str), ("end_ms", int)])(snapshot.version, snapshot.end_ms)


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def build_features(
    home: str,
    code: str,
    market_version: str,
    end_ms: int,
    data: str,
    features: str,
    frame: dsl.Output[dsl.Dataset],
) -> None:
    """Join both legs of every coin up to `end_ms` into the unified frame of that version of the market.

    What another fetch has added since is not in it, so that the cache's key says what it holds.
    """
    from datetime import UTC, datetime
    from pathlib import Path

    from carryflow.features.build import build_features
    from carryflow.features.spec import FeatureSettings
    from carryflow.market.data import DataSettings

    settings = DataSettings.model_validate_json(data)
    build_features(
        Path(home, "data", "crypto"),
        Path(frame.path),
        settings.model_copy(update={"end": datetime.fromtimestamp(end_ms / 1000, UTC)}),
        FeatureSettings.model_validate_json(features),
        version=market_version,
    )
    frame.metadata.update(market_version=market_version, code=code)


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def publish_features(home: str, frame: dsl.Input[dsl.Dataset]) -> str:
    """Publish the frame in Feast, offline and online, and return the folder that it was published in.

    It feeds every model version that reads what the frame has; an alias whose version it does not feed is
    named, for that version will hold as soon as its features are too old.
    """
    from pathlib import Path

    from carryflow.monitoring.progress import narrate
    from carryflow.promotion.registry import Alias, Registry
    from carryflow.store.feast import features_lacking, publish, published_versions

    published = publish(Path(frame.path), Path(home))
    versions, registry = published_versions(Path(home)), Registry(Path(home, "registry"))
    for alias in Alias:
        version = registry.resolve(alias)
        lacking = features_lacking(Path(frame.path), versions[version]) if version in versions else ()
        if lacking:
            narrate(f"{alias.value} {version} is not fed: the frame lacks {', '.join(lacking)}")
    return str(published)


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
