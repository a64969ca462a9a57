"""Feast as it is installed, over a small market, on SQLite and on a real Redis.

What is published is what is learned from and decided on, and what was not known on a day is not there on it.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import yaml
from redis import Redis

from carryflow.core.errors import (
    MarketDataError,
    SchemaMismatchError,
    SettingsError,
    StaleFeaturesError,
    UnknownTickerError,
)
from carryflow.features.build import UnifiedFrame, build_features, read_frame, write_frame
from carryflow.features.dataset import read_dataset
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.features.split import SplitSettings
from carryflow.features.stream import FeatureStream
from carryflow.features.windows import read_windows
from carryflow.market.data import DataSettings
from carryflow.market.store import Source, merge_leg, read_leg, write_source
from carryflow.market.synthetic import SyntheticSettings, synthetic_market
from carryflow.promotion.registry import Alias, Registry
from carryflow.store.connection import feast_at_work
from carryflow.store.feast import (
    OnlineFeatures,
    open_store,
    publish,
    published_versions,
    push_rows,
    serve_version,
    training_set,
)
from carryflow.store.history import newest_versions
from carryflow.store.online_marks import open_redis
from components.market import publish_features
from feature_repo import features_view, position_view, version_service

DATA = DataSettings(tickers=("BTC", "ETH"))
FEATURES = FeatureSettings(lookback=24)
SPLIT = SplitSettings(test_days=10, embargo_hours=24, min_train_days=10)
ROOT = Path(__file__).parents[2]
HOUR_MS = 3_600_000
MARCH = datetime(2025, 3, 1, tzinfo=UTC)
VENUE = "binance"


@dataclass(frozen=True)
class Home:
    path: Path

    @property
    def frame_dir(self) -> Path:
        """Where a pipeline keeps the frame: anywhere but in the home's own folder."""
        return self.path / "artifacts" / "frame"

    @property
    def frame(self) -> UnifiedFrame:
        return read_frame(self.frame_dir)

    @property
    def end_ms(self) -> int:
        return int(self.frame.table["KnownAt"].dt.epoch("ms").to_numpy().max())

    def write(self, table: pl.DataFrame) -> None:
        write_frame(replace(self.frame, table=table), self.frame_dir)

    def publish(self, created: datetime | None = None) -> None:
        publish(self.frame_dir, self.path, created=created, venue=VENUE)

    def history(self) -> pl.DataFrame:
        return pl.read_parquet(self.path / "data/processed/feast" / self.frame.spec.hash / "features.parquet")

    def window(self, ticker: str) -> np.ndarray:
        """What the frame itself holds last."""
        rows = self.frame.table.filter(pl.col("Ticker") == ticker).tail(self.frame.spec.lookback)
        return rows.select(self.frame.spec.published).to_numpy(order="c")

    def served(self, ticker: str) -> np.ndarray:
        return OnlineFeatures(self.path).latest_window(ticker, self.end_ms).window


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("market")
    for (leg, ticker), table in synthetic_market(SyntheticSettings(hours=960), DATA.tickers).items():
        merge_leg(folder, leg, ticker, table)
    return folder


@pytest.fixture(scope="module")
def frame(market: Path) -> UnifiedFrame:
    build_features(market, market / "frame", DATA, FEATURES)
    return read_frame(market / "frame")


@pytest.fixture
def home(frame: UnifiedFrame, tmp_path: Path) -> Home:
    """A home with a built frame and nothing published, on the embedded store."""
    home = Home(tmp_path / "home")
    write_frame(frame, home.frame_dir)
    return home


@pytest.fixture(params=["sqlite", "redis"])
def store(home: Home, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The same on each online store; Redis as `feature_store.production.yaml` configures it."""
    if request.param == "redis":
        address = request.getfixturevalue("redis_address")
        monkeypatch.setenv("CARRYFLOW_FEATURE_STORE", "feature_store.production.yaml")
        monkeypatch.setenv("CARRYFLOW_HOME", str(home.path))
        monkeypatch.setenv("CARRYFLOW_REDIS", address)
        with redis(address) as client:
            client.flushall()
    return home


def redis(address: str) -> "Redis":
    host, port = address.split(":")
    return Redis(host=host, port=int(port))


def lose_online_store(home: Home, request: pytest.FixtureRequest) -> None:
    if "redis" in request.node.name:
        with redis(request.getfixturevalue("redis_address")) as client:
            client.flushall()
    else:
        (home.path / "feature_repo_state" / "online.db").unlink()


def corrected(table: pl.DataFrame, at: datetime, value: float) -> pl.DataFrame:
    basis = pl.when(pl.col("Date") == at).then(value).otherwise(pl.col("basis_bp"))
    return table.with_columns(basis.cast(pl.Float32).alias("basis_bp"))


@pytest.mark.pitfall("P18")
def test_the_window_served_online_is_the_published_one_to_the_last_bit(store: Home) -> None:
    store.publish()
    online = OnlineFeatures(store.path)
    for ticker in ("BTC", "ETH"):
        served = online.latest_window(ticker, store.end_ms)
        assert served.window.dtype == np.float32
        assert served.window.tobytes() == store.window(ticker).tobytes()
        assert served.known_at_ms == store.end_ms
        assert served.spec == store.frame.spec
    assert (online.venue, online.tickers) == (VENUE, ("BTC", "ETH"))
    with pytest.raises(UnknownTickerError, match="'DOGE' at binance"):
        online.latest_window("DOGE", store.end_ms)


@pytest.mark.pitfall("P18")
def test_a_corrected_row_of_the_same_hour_replaces_the_old_one_online(store: Home) -> None:
    store.publish()
    store.write(corrected(store.frame.table, store.frame.table["Date"][-1], 9.0))
    store.publish()
    column = store.frame.spec.published.index("basis_bp")
    for ticker in ("BTC", "ETH"):
        assert store.served(ticker)[-1, column] == 9.0
        assert store.served(ticker).tobytes() == store.window(ticker).tobytes()


def test_a_frame_that_is_published_is_not_published_again_until_the_online_store_is_lost(
    store: Home, request: pytest.FixtureRequest
) -> None:
    store.publish()
    card = store.path / "data/processed/feast" / store.frame.spec.hash / "published.json"
    first, history = card.stat().st_mtime_ns, store.history()
    store.publish()
    assert card.stat().st_mtime_ns == first
    lose_online_store(store, request)
    store.publish()
    assert card.stat().st_mtime_ns > first
    assert store.served("BTC").tobytes() == store.window("BTC").tobytes()
    assert store.history().equals(history)


def test_a_stream_goes_on_where_the_publication_ended_and_the_next_publication_agrees(
    store: Home, market: Path
) -> None:
    whole = store.frame.table
    opens = whole["Date"].unique().sort()
    store.write(whole.filter(pl.col("Date") < opens[-3]))
    store.publish(MARCH)
    streams = {ticker: FeatureStream(ticker, DATA, FEATURES) for ticker in DATA.tickers}
    legs = {ticker: [read_leg(market, leg, ticker) for leg in ("spot", "perp")] for ticker in streams}
    for ticker, stream in streams.items():
        stream.prime(*(leg.head(-3) for leg in legs[ticker]))
    for hour in (-3, -2, -1):
        rows = [
            stream.push(*(leg.row(hour, named=True) for leg in legs[name]))
            for name, stream in streams.items()
        ]
        push_rows(
            pl.concat(row for row in rows if row is not None),
            store.path,
            MARCH + (4 + hour) * timedelta(hours=1),
        )
    store.write(whole)
    assert store.served("ETH").tobytes() == store.window("ETH").tobytes()
    pushed = store.history()
    assert pushed.filter(pl.col("created") > MARCH).height == 6
    assert OnlineFeatures(store.path).unaged_window("BTC").known_at_ms == store.end_ms
    store.publish()
    assert store.history().equals(pushed)


def test_rows_of_a_stream_that_no_published_spec_takes_are_refused_with_the_reason(home: Home) -> None:
    home.publish()
    short = home.frame.table.tail(1).with_columns(KnownAt=pl.col("Date").dt.offset_by("5m"))
    with pytest.raises(MarketDataError, match="has bars of 60 minutes, the rows of 5"):
        push_rows(short, home.path)


def test_a_stream_that_left_out_a_bar_is_refused_and_the_window_stays(store: Home) -> None:
    whole = store.frame.table
    opens = whole["Date"].unique().sort()
    store.write(whole.filter(pl.col("Date") < opens[-2]))
    store.publish()
    before = store.served("BTC")
    with pytest.raises(MarketDataError, match="has a hole"):
        push_rows(whole.filter(pl.col("Date") == opens[-1]), store.path)
    assert store.served("BTC").tobytes() == before.tobytes()
    assert store.history()["event_timestamp"].max() < whole["KnownAt"].max()


@pytest.mark.pitfall("P18")
def test_a_feature_older_than_it_may_be_is_refused_by_name_and_age(store: Home) -> None:
    late = pl.col("KnownAt").dt.offset_by("-11h").alias("FundingKnownAt")
    store.write(store.frame.table.with_columns(late))
    store.publish()
    online = OnlineFeatures(store.path)
    ages = {age.bound.name: age.age_ms for age in online.latest_window("BTC", store.end_ms).ages}
    assert ages["basis_bp"] == 0
    assert ages["carry_24h_apr"] == 11 * HOUR_MS
    with pytest.raises(
        StaleFeaturesError, match=r"BTC: funding_last_apr, carry_24h_apr.* are 11\.5 h old"
    ) as error:
        online.latest_window("BTC", store.end_ms + HOUR_MS // 2)
    assert "basis_bp" not in str(error.value)
    with pytest.raises(StaleFeaturesError, match=r"basis_bp.* are 3\.1 h old, the limit is 3 h"):
        online.latest_window("BTC", store.end_ms + round(3.1 * HOUR_MS))
    assert online.unaged_window("BTC").known_at_ms == store.end_ms


@pytest.mark.pitfall("P18")
def test_two_model_versions_with_other_features_are_served_side_by_side(store: Home) -> None:
    champion = store.frame.spec
    shadow = FeatureSpec(("basis_bp", "carry_24h_apr", "vol_ratio"), lookback=12)
    serve_version(store.path, "champion1", champion)
    serve_version(store.path, "shadow1", shadow)
    store.publish()
    for version, spec in {"champion1": champion, "shadow1": shadow}.items():
        served = OnlineFeatures(store.path, version).latest_window("ETH", store.end_ms)
        told = store.frame.table.filter(pl.col("Ticker") == "ETH").tail(spec.lookback).select(spec.published)
        assert served.spec == spec
        assert served.window.tobytes() == told.to_numpy(order="c").tobytes()
    with pytest.raises(MarketDataError, match="no features are served to version another"):
        OnlineFeatures(store.path, "another")
    with pytest.raises(SchemaMismatchError, match=shadow.hash):
        serve_version(store.path, "champion1", shadow)


def test_the_training_set_is_the_frame_joined_as_of_each_decision(store: Home, tmp_path: Path) -> None:
    store.publish()
    exported = training_set(store.frame_dir, store.path, tmp_path / "dataset", SPLIT)
    dataset, frame = read_dataset(tmp_path / "dataset"), store.frame
    assert dataset.frame.equals(frame.table.select(dataset.frame.columns).sort("Ticker", "Date"))
    assert dataset.market_version == frame.market_version
    windows, runs = read_windows(exported, frame.spec.hash)
    for run in runs:
        served = dataset.scaler.transform(store.served(run["ticker"]))
        assert served.tobytes() == windows[run["first"] + run["count"] - 1].tobytes()


@pytest.mark.pitfall("P18")
def test_what_was_corrected_or_filled_in_later_is_not_there_as_of_an_earlier_day(
    home: Home, tmp_path: Path
) -> None:
    def learned(name: str, as_of: datetime | None) -> pl.DataFrame:
        training_set(home.frame_dir, home.path, tmp_path / name, SPLIT, as_of=as_of)
        return read_dataset(tmp_path / name).frame

    whole = home.frame.table
    opens = whole["Date"].unique().sort()
    known = whole.filter(pl.col("Date").is_between(opens[5], opens[-4]))
    home.write(known)
    home.publish(MARCH)
    home.write(corrected(whole, opens[100], 9.0).with_columns(MarkPrice=pl.col("MarkPrice") * 2))
    home.publish(MARCH + timedelta(days=1))

    then, now = learned("then", MARCH + timedelta(hours=1)), learned("now", None)
    assert then.equals(known.select(then.columns).sort("Ticker", "Date"))
    assert now.equals(home.frame.table.select(now.columns).sort("Ticker", "Date"))
    assert now.filter(pl.col("Date") == opens[100])["basis_bp"].to_list() == [9.0, 9.0]
    with pytest.raises(MarketDataError, match="nothing was published"):
        learned("never", MARCH - timedelta(days=1))


@pytest.mark.pitfall("P18")
def test_rows_published_again_unchanged_keep_the_day_on_which_they_became_known(home: Home) -> None:
    home.publish(MARCH)
    first = home.history()
    at = home.frame.table["Date"][-1]
    home.write(corrected(home.frame.table, at, 9.0))
    home.publish(MARCH + timedelta(days=1))
    history = home.history()
    assert history.filter(pl.col("created") == MARCH).equals(first)
    later = history.filter(pl.col("created") > MARCH)
    assert later["Date"].unique().to_list() == [at]
    assert newest_versions(history)["basis_bp"].tail(1).to_list() == [9.0]
    home.write(corrected(home.frame.table, at, 8.0))
    with pytest.raises(MarketDataError, match="check this machine's clock"):
        home.publish(MARCH)


@pytest.mark.pitfall("P18")
def test_a_frame_that_comes_late_undoes_nothing_and_still_joins_its_decisions(
    home: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = home.frame.table
    opens = whole["Date"].unique().sort()
    home.write(corrected(whole, opens[-9], 9.0).filter(pl.col("Date") > opens[5]))
    home.publish()
    newer, window = home.history(), home.served("BTC").tobytes()
    home.write(whole.filter(pl.col("Date") < opens[-3]))
    home.publish()
    assert "before what was published" in caplog.text
    online = OnlineFeatures(home.path).unaged_window("BTC")
    assert (online.window.tobytes(), online.known_at_ms) == (
        window,
        int(whole["KnownAt"].max().timestamp() * 1000),
    )
    assert home.history().head(len(newer)).equals(newer)
    training_set(home.frame_dir, home.path, tmp_path / "late", SPLIT)
    learned = read_dataset(tmp_path / "late").frame
    assert learned.select("Ticker", "Date").equals(home.frame.table.select("Ticker", "Date"))
    assert learned.filter(pl.col("Date") == opens[-9])["basis_bp"].to_list() == [9.0, 9.0]
    home.write(whole.with_columns(pl.lit("DOGE").alias("Ticker")))
    with pytest.raises(MarketDataError, match=r"DOGE: no features known at 2.*`carryflow feast publish`"):
        training_set(home.frame_dir, home.path, tmp_path / "never", SPLIT)


def test_a_registry_that_was_cut_short_is_named_and_made_anew_by_the_next_publication(home: Home) -> None:
    serve_version(home.path, "champion1", home.frame.spec)
    home.publish()
    registry = home.path / "feature_repo_state" / "registry.db"
    whole = registry.read_bytes()
    for cut in (len(whole) // 2, 0):
        registry.write_bytes(whole[:cut])
        with pytest.raises(MarketDataError, match=r"carryflow feast publish|publish its features again"):
            OnlineFeatures(home.path, "champion1").unaged_window("BTC")
        with pytest.raises(MarketDataError, match="carryflow feast publish"):
            OnlineFeatures(home.path).unaged_window("BTC")
        home.publish()
        assert OnlineFeatures(home.path, "champion1").unaged_window("BTC").known_at_ms == home.end_ms
    assert not list(registry.parent.glob(".registry*"))


def test_a_version_whose_service_could_not_be_made_is_not_recorded_and_is_made_good_later(home: Home) -> None:
    state = home.path / "feature_repo_state"
    (state / "registry.db").mkdir(parents=True)  # nothing can be moved there
    with pytest.raises(OSError, match="registry"):
        serve_version(home.path, "champion1", home.frame.spec)
    assert published_versions(home.path) == {}
    (state / "registry.db").rmdir()
    serve_version(home.path, "champion1", home.frame.spec)
    (state / "registry.db").unlink()
    serve_version(home.path, "champion1", home.frame.spec)
    services = {service.name for service in open_store(home.path).list_feature_services()}
    assert version_service("champion1") in services


@pytest.mark.parametrize("password", ["@bc", "0123", "yes", "a: b", "a=b", '"12"'])
def test_a_password_of_redis_is_read_as_feast_reads_it(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feast.infra.online_stores.redis import RedisOnlineStore
    from feast.repo_config import load_repo_config

    monkeypatch.setenv("CARRYFLOW_HOME", "/var/lib/carryflow")
    monkeypatch.setenv("CARRYFLOW_REDIS", f"redis:6379,db=2,password={password}")
    config = load_repo_config(ROOT, ROOT / "feature_repo" / "feature_store.production.yaml")
    told = config.online_store.connection_string
    _, settings = RedisOnlineStore._parse_connection_string(told)
    with open_redis(told) as client:
        kept = client.connection_pool.connection_kwargs
    assert {name: kept[name] for name in settings} == settings
    assert (kept["host"], kept["port"], kept["password"]) == ("redis", 6379, password.strip('"'))


def test_what_a_position_earns_is_asked_with_the_position(home: Home) -> None:
    home.publish()
    row = home.frame.table.filter(pl.col("Ticker") == "BTC").tail(1)
    carry = float(row["carry_24h_apr"][0])
    assert OnlineFeatures(home.path).position_carry_apr("BTC", -0.5, 0.4) == -0.5 * carry * 0.4
    asked = pl.DataFrame(
        {
            "ticker": ["BTC"],
            "venue": [VENUE],
            "event_timestamp": row["KnownAt"].dt.cast_time_unit("us"),
            "position": [0.5],
            "spot_share": [0.5],
        }
    )
    feature = f"{position_view(home.frame.spec.hash)}:position_carry_apr"
    with feast_at_work():
        told = open_store(home.path).get_historical_features(asked.to_pandas(), [feature]).to_df()
    assert told["position_carry_apr"].tolist() == [0.25 * carry]


def test_a_redis_that_keeps_old_rows_is_found_out(home: Home, redis_address: str, tmp_path: Path) -> None:
    config = tmp_path / "feature_store.yaml"
    told = yaml.safe_load((ROOT / "feature_repo" / "feature_store.yaml").read_text())
    told["online_store"] = {"type": "redis", "connection_string": redis_address}
    config.write_text(yaml.safe_dump(told))
    with redis(redis_address) as client:
        client.flushall()
    publish(home.frame_dir, home.path, config=config, venue=VENUE)
    home.write(corrected(home.frame.table, home.frame.table["Date"][-1], 9.0))
    with pytest.raises(SettingsError, match="skip_dedup: true"):
        publish(home.frame_dir, home.path, config=config, venue=VENUE)


def test_a_publication_that_a_full_redis_broke_off_is_made_good_by_the_next(
    home: Home, redis_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARRYFLOW_FEATURE_STORE", "feature_store.production.yaml")
    monkeypatch.setenv("CARRYFLOW_HOME", str(home.path))
    monkeypatch.setenv("CARRYFLOW_REDIS", redis_address)
    with redis(redis_address) as client:
        client.flushall()
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(SettingsError, match=r"the online store does not take it.*maxmemory"):
                home.publish(MARCH)
        finally:
            client.config_set("maxmemory", 0)
    with pytest.raises(MarketDataError, match="no features were published"):
        OnlineFeatures(home.path)
    home.publish()
    assert home.served("BTC").tobytes() == home.window("BTC").tobytes()
    assert home.history()["created"].unique().to_list() == [MARCH]


def test_a_home_says_which_venue_it_publishes_and_mixes_in_no_other(home: Home) -> None:
    with pytest.raises(MarketDataError, match="does not say which venue"):
        publish(home.frame_dir, home.path)
    home.publish()
    with pytest.raises(MarketDataError, match="publishes features of binance, and okx must not"):
        publish(home.frame_dir, home.path, created=datetime.now(UTC), venue="okx")


def test_the_publishing_step_names_the_champion_that_its_frame_does_not_feed(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    write_source(home.path / "data" / "crypto", Source(VENUE, "", home.end_ms))
    for part in ("bundle", "evidence"):
        (home.path / part).mkdir()
        (home.path / part / "part").write_text(part)
    registry = Registry(home.path / "registry")
    version = registry.register(home.path / "bundle", home.path / "evidence")
    registry.assign(Alias.CHAMPION, version, at_ms=home.end_ms, why="test")
    serve_version(home.path, version, FeatureSpec(("basis_bp", "spread_bp", "vol_24h_apr"), lookback=12))
    publish_features.python_func(str(home.path), SimpleNamespace(path=str(home.frame_dir)))
    assert f"champion {version} is not fed: the frame lacks spread_bp" in capsys.readouterr().out
    with pytest.raises(MarketDataError, match="was not published"):
        OnlineFeatures(home.path, version)
    assert OnlineFeatures(home.path).venue == VENUE


def test_nothing_changed_costs_no_import_of_feast(home: Home) -> None:
    home.publish()
    again = (
        "import sys; from pathlib import Path; from carryflow.store.feast import publish;"
        f"publish(Path({str(home.frame_dir)!r}), Path({str(home.path)!r}), venue={VENUE!r});"
        "print('feast' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", again], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_the_repository_applies_as_a_feast_user_types_it(home: Home) -> None:
    """Copied into a home, `feature_repo/` describes that home's store and nothing else."""
    serve_version(home.path, "champion1", home.frame.spec)
    home.publish()
    repository = home.path / "feature_repo"
    repository.mkdir()
    for file in (ROOT / "feature_repo").iterdir():
        if file.is_file():
            shutil.copy(file, repository)
    feast = Path(sys.executable).with_name("feast")
    applied = subprocess.run([feast, "apply"], cwd=repository, capture_output=True, text=True, check=False)
    assert applied.returncode == 0, applied.stderr
    spec = home.frame.spec
    store = open_store(home.path)
    assert [entity.name for entity in store.list_entities() if not entity.name.startswith("__")] == [
        "ticker",
        "venue",
    ]
    fields = [field.name for field in store.get_feature_view(features_view(spec.hash)).features]
    assert fields[3:] == [*spec.published]
    services = {service.name for service in store.list_feature_services()}
    assert services == {version_service("champion1"), f"carry_training_{spec.hash}"}
    assert OnlineFeatures(home.path, "champion1").latest_window("BTC", home.end_ms).spec == spec


def test_the_production_store_is_redis_over_object_storage(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feast.repo_config import load_repo_config

    monkeypatch.setenv("CARRYFLOW_HOME", "/var/lib/carryflow")
    monkeypatch.setenv("CARRYFLOW_REDIS", "redis:6379")
    config = load_repo_config(ROOT, ROOT / "feature_repo" / "feature_store.production.yaml")
    assert config.online_store.type == "redis"
    assert config.online_store.skip_dedup is True
    assert config.online_store.connection_string == "redis:6379"
    assert config.registry.path == "/var/lib/carryflow/feature_repo_state/registry.db"
    assert config.offline_store.type == "duckdb"


def test_the_published_tables_may_lie_in_object_storage(
    home: Home, object_storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARRYFLOW_OFFLINE", object_storage)
    whole = home.frame.table
    opens = whole["Date"].unique().sort()
    home.write(whole.filter(pl.col("Date") < opens[-1]))
    home.publish()
    push_rows(whole.filter(pl.col("Date") == opens[-1]), home.path)
    home.write(whole)
    assert home.served("BTC").tobytes() == home.window("BTC").tobytes()
    training_set(home.frame_dir, home.path, tmp_path / "dataset", SPLIT)
    learned = read_dataset(tmp_path / "dataset").frame
    assert learned.equals(whole.select(learned.columns).sort("Ticker", "Date"))
    assert not list((home.path / "data/processed/feast").rglob("*.parquet"))
    monkeypatch.setenv("CARRYFLOW_OFFLINE", "s3://elsewhere/feast")
    with pytest.raises(MarketDataError, match="object storage did not take or give s3://elsewhere/feast/"):
        home.publish()


def test_a_card_that_cannot_be_read_is_named(home: Home) -> None:
    home.publish()
    card = home.path / "data/processed/feast" / home.frame.spec.hash / "published.json"
    card.write_text(json.dumps({"spec": {}}))
    with pytest.raises(SchemaMismatchError, match=r"published\.json"):
        OnlineFeatures(home.path)
