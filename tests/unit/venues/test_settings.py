import subprocess
import sys

import pytest
from pydantic import ValidationError

from carryflow.core.errors import SettingsError
from carryflow.market.data import DataSettings
from carryflow.settings import resolve
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


@pytest.mark.parametrize("url", ["http://me:s3cret@127.0.0.1:8700", "me:s3cret@127.0.0.1"])
def test_credentials_in_the_address_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValidationError, match="must hold no user or password") as caught:
        VenueSettings.model_validate({"url": url})
    assert "s3cret" not in str(caught.value)
    with pytest.raises(SettingsError, match="must hold no user or password") as said:
        resolve(overrides=[f"venue.url={url}"])
    assert "s3cret" not in str(said.value)
