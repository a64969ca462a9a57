import subprocess
import sys

import pytest
from pydantic import ValidationError

from carryflow.market.data import DataSettings
from carryflow.venues.settings import VenueSettings


def test_settings_import_without_the_slow_libraries_behind_them() -> None:
    code = (
        "import sys, carryflow.venues.ccxt_market, carryflow.venues.simulated.server;"
        "print([m for m in ('ccxt', 'aiohttp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_start_after_the_end_and_a_coin_named_twice_are_refused() -> None:
    with pytest.raises(ValidationError, match="must be before end"):
        DataSettings.model_validate({"start": "2025-02-01", "end": "2025-01-01"})
    with pytest.raises(ValidationError, match="name a coin twice"):
        DataSettings(tickers=("BTC", "BTC"))


def test_a_day_without_a_zone_is_taken_as_utc() -> None:
    settings = DataSettings.model_validate({"start": "2025-01-01", "end": "2025-01-02T01:00:00+01:00"})
    assert settings.start is not None
    assert settings.end is not None
    assert (settings.end - settings.start).days == 1


def test_an_unknown_venue_is_refused() -> None:
    with pytest.raises(ValidationError, match="simulated"):
        VenueSettings.model_validate({"name": "kraken"})
