"""The typed tree of every setting, and how it is resolved.

Later sources win: defaults, a YAML file, environment (`CARRYFLOW__ENV__RISK__LAMBDA_VOL=0.2`), overrides
(`-o env.risk.lambda_vol=0.2`). A room's settings live beside its code; here they are only joined.
"""

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from carryflow.core.errors import SettingsError
from carryflow.core.section import Section
from carryflow.env.settings import EnvSettings
from carryflow.evaluation.evidence import EvaluationSettings
from carryflow.execution.settings import ExecutionSettings
from carryflow.features.spec import FeatureSettings
from carryflow.features.split import SplitSettings
from carryflow.market.data import DataSettings
from carryflow.monitoring.drift import DriftSettings
from carryflow.promotion.registry import Alias
from carryflow.promotion.verdict import PromotionSettings
from carryflow.training.hyperparameters import TrainSettings
from carryflow.venues.settings import VenueSettings
from carryflow.venues.simulated.settings import ExchangeSettings
from carryflow.venues.stream.settings import FeedSettings

ENVIRONMENT_PREFIX = "CARRYFLOW__"


class ServingSettings(Section):
    """Steer the KServe predictor."""

    host: Annotated[str, Field(description="address to bind")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port to bind; 0 takes any free one")] = 8080
    model_name: Annotated[str, Field(min_length=1, description="name in the URL of the model")] = "carry"
    alias: Annotated[
        Alias, Field(description="whose bundle answers: champion, or challenger as its shadow")
    ] = Alias.CHAMPION
    max_feature_age_hours: Annotated[float, Field(gt=0, description="features older than this mean HOLD")] = (
        3.0
    )


class Settings(Section):
    """Join the settings of all rooms."""

    home: Annotated[
        Path | None,
        Field(description="folder of data, runs and registry, one a market; by default . or markets/<name>"),
    ] = None
    seed: Annotated[int, Field(ge=0, description="seed of training")] = 7
    venue: VenueSettings = VenueSettings()
    exchange: ExchangeSettings = ExchangeSettings()
    feed: FeedSettings = FeedSettings()
    data: DataSettings = DataSettings()
    features: FeatureSettings = FeatureSettings()
    split: SplitSettings = SplitSettings()
    env: EnvSettings = EnvSettings()
    train: TrainSettings = TrainSettings()
    drift: DriftSettings = DriftSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    promotion: PromotionSettings = PromotionSettings()
    serving: ServingSettings = ServingSettings()
    execution: ExecutionSettings = ExecutionSettings()

    @property
    def home_dir(self) -> Path:
        """Return the absolute folder of data, runs and registry: one market never mixes with another.

        The embedded market lives in the current folder, a tape in `markets/<name of its folder>`, a real
        venue in `markets/<venue>`, unless `home` says otherwise.
        """
        if self.home is not None:
            return self.home.absolute()
        if self.venue.name != "simulated":
            return Path("markets", self.venue.name).absolute()
        if self.exchange.tape is not None:
            return Path("markets", self.exchange.tape.absolute().name).absolute()
        return Path.cwd()

    @property
    def market_dir(self) -> Path:
        """Return the folder of the fetched bars: hourly ones in `data/crypto`, others in a folder below."""
        folder = self.home_dir / "data" / "crypto"
        return folder if self.data.timeframe == "1h" else folder / self.data.timeframe

    @property
    def frame_dir(self) -> Path:
        """Return the folder of the unified frame that `carryflow features build` writes."""
        return self.home_dir / "data" / "frame" / self.data.timeframe

    @property
    def dataset_dir(self) -> Path:
        """Return the folder of the dataset that `carryflow windows build` writes."""
        return self.home_dir / "data" / "dataset" / self.data.timeframe

    def require_hourly(self) -> None:
        """Refuse bars that the environment does not play yet.

        Raises:
            SettingsError: the timeframe is not 1h.
        """
        if self.data.timeframe != "1h":
            raise SettingsError(
                f"the loop learns on hourly bars, data.timeframe is {self.data.timeframe}; other bars can be "
                "fetched, checked and turned into features (`carryflow fetch`, `data`, `features`)"
            )

    @property
    def hash(self) -> str:
        """Return 12 hexadecimal digits that name this very resolution."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def sections(self, *names: str) -> dict[str, str]:
        """Return sections by name, each as JSON, which is how a pipeline carries them."""
        return {name: getattr(self, name).model_dump_json() for name in names}


def resolve(
    file: Path | None = None, environment: Mapping[str, str] | None = None, overrides: Sequence[str] = ()
) -> Settings:
    """Resolve the settings from defaults, a YAML file, the environment and `key=value` overrides.

    Raises:
        SettingsError: a key is unknown (the nearest valid one is named), a value is ill-typed or out of
            range, or the file cannot be read.
    """
    tree: dict[str, Any] = {}
    _merge(tree, _read_file(file) if file else {})
    for name, text in sorted((environment or {}).items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            _assign(tree, name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", "."), text)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise SettingsError(
                f"override {override!r} is not of the form key=value, such as train.iterations=5"
            )
        _assign(tree, key.strip(), text)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(detail) for detail in error.errors())) from None


def valid_keys(section: type[Section] = Settings, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key, such as `env.risk.lambda_vol`."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from valid_keys(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _read_file(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"settings file {file} is no text in UTF-8; save it as such") from None
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"settings file {file} is no YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"settings file {file} must hold a mapping, such as 'train: {{iterations: 5}}'")
    return content


def _merge(tree: dict[str, Any], branch: Mapping[str, Any]) -> None:
    for key, value in branch.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = dict(value) if isinstance(value, Mapping) else value


def _assign(tree: dict[str, Any], key: str, text: str) -> None:
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # a ValueError is a date that no calendar has
        value = text
    *path, leaf = key.split(".")
    for name in path:
        branch = tree.setdefault(name, {})
        if not isinstance(branch, dict):
            raise SettingsError(f"setting {key!r}: {name!r} is a value, not a group of settings")
        tree = branch
    tree[leaf] = value


def _explain(detail: Any) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        keys = list(valid_keys())
        groups = {name.rpartition(".")[0] for name in keys} - {""}
        near = difflib.get_close_matches(key, [*keys, *sorted(groups)], n=1, cutoff=0.0)
        return f"unknown setting {key!r}; the nearest valid one is {near[0]!r}"
    if detail["type"] == "secret":
        return f"setting {key} {detail['msg']}"
    example = ", such as 2023-01-31" if detail["type"].startswith("date") else ""
    return f"setting {key} = {detail['input']!r}: {detail['msg'].lower()}{example}"
