"""Who is put under stress: the references, the champion, a bundle."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from carryflow.core.errors import RegistryError, SettingsError
from carryflow.env.stress.choice import require_known
from carryflow.evaluation.stress.play import REFERENCES, bundle_player, reference_players
from carryflow.features.spec import FeatureSpec

if TYPE_CHECKING:
    from carryflow.env.stress.ground import Ground
    from carryflow.evaluation.stress.play import Player
    from carryflow.settings import Settings

CHAMPION, BUNDLE = "champion", "bundle"


class Players:
    """Choose who plays, before anything is computed.

    Raises:
        SettingsError: a policy is unknown, asks for a bundle that is not given, or the folder holds none.
        RegistryError: the home has no champion.

    """

    def __init__(
        self,
        settings: "Settings",
        names: Sequence[str],
        bundle: Path | None,
        *,
        champion: bool,
    ) -> None:
        self.settings = settings
        self.folders: dict[str, Path] = {}
        for name in names:
            require_known(name, (*REFERENCES, CHAMPION, BUNDLE), "policy")
        if BUNDLE in names and bundle is None:
            raise SettingsError("--policy bundle needs --bundle FOLDER")
        if champion or CHAMPION in names:
            self.folders[CHAMPION] = _champion(settings)
        if bundle is not None:
            self.folders[BUNDLE] = _bundle(bundle)
        self.references = [name for name in REFERENCES if not names or name in names]

    def on(self, ground: "Ground") -> "Iterator[Player]":
        """Give the players with the eyes that they need on this ground; bundles first."""
        settings = self.settings
        for name, folder in self.folders.items():
            from carryflow.agents.bundle import load_bundle

            yield bundle_player(name, load_bundle(folder), settings.env)
        spec = FeatureSpec.of(settings.features, sentiment=False)
        scaler = ground.scaler(spec, settings.data)
        for player in reference_players(spec, scaler, settings.env, settings.evaluation):
            if player.name in self.references:
                yield player


def _bundle(folder: Path) -> Path:
    from carryflow.agents.bundle import BUNDLE_FILE

    if not (folder / BUNDLE_FILE).is_file():
        raise SettingsError(
            f"--bundle {folder}: {folder.absolute()} holds no {BUNDLE_FILE}; name the folder of a bundle"
        )
    return folder


def _champion(settings: "Settings") -> Path:
    from carryflow.promotion.registry import Alias, Registry

    registry = Registry(settings.home_dir / "registry")
    version = registry.resolve(Alias.CHAMPION)
    if version is None:
        raise RegistryError(
            f"{settings.home_dir} has no champion; `carryflow run` makes one, --bundle FOLDER takes another"
        )
    return registry.bundle_dir(version)
