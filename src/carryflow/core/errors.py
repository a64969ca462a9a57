"""The exception tree of carryflow.

```
CarryflowError
├── SettingsError           a setting is unknown, ill-typed or out of range
├── MarketDataError         what the market said cannot be used
│   ├── CoverageError       bars, marks or settlements are missing; the rows are named
│   ├── UnknownTickerError  the venue or the tape does not list the ticker
│   └── StaleFeaturesError  a feature is older than it may be
├── VenueError              a venue answered badly or not at all
│   ├── RetryableError      nothing happened there; asking again is safe
│   ├── AmbiguousError      something may have happened there; ask what, never send again
│   └── RejectedError       the venue refused; asking again changes nothing
├── ActionError             a policy returned NaN, an infinity or a value out of range
├── SchemaMismatchError     a feature spec, a bundle and a store do not belong together
├── RegistryError           a version or an alias of the model registry is missing or broken
└── InvariantBroken         our own books do not add up; stop and tell
```

Every message states the problem, the value and the way out. The command line prints it as one line.
"""


class CarryflowError(Exception):
    """Stand at the root of every error that carryflow raises on purpose."""


class SettingsError(CarryflowError):
    """Name a setting that is unknown, ill-typed or out of range."""


class MarketDataError(CarryflowError):
    """Say why what the market said cannot be used."""


class CoverageError(MarketDataError):
    """Name the bars, marks or settlements that are missing."""


class UnknownTickerError(MarketDataError):
    """Name a ticker that the venue or the tape does not list."""


class StaleFeaturesError(MarketDataError):
    """Name the features that are older than they may be."""


class VenueError(CarryflowError):
    """Say that a venue answered badly or not at all."""


class RetryableError(VenueError):
    """Say that nothing happened at the venue, so that asking again is safe."""


class AmbiguousError(VenueError):
    """Say that something may have happened at the venue, which must be asked before sending again."""


class RejectedError(VenueError):
    """Say that the venue refused, so that asking again changes nothing."""


class ActionError(CarryflowError):
    """Name an action that is NaN, infinite or out of its range."""


class SchemaMismatchError(CarryflowError):
    """Name a feature spec, a bundle or a store that does not belong with the others."""


class RegistryError(CarryflowError):
    """Name a registry version or alias that is missing or broken."""


class InvariantBroken(CarryflowError):
    """Say that our own books do not add up."""
