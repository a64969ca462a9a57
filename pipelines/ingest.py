"""The hourly graph: fetch, featurise, publish, so that whoever decides finds fresh features.

```
ingest ─ build_features ─ publish_features
```

The weekly graph begins with the same three steps. Between its runs this one keeps the feature store fresh,
for the spec of the settings and for the spec of every model version that is served. Each parameter named in
`SECTIONS` is one section of the settings, as JSON.
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl.pipeline_channel import PipelineChannel

from components.market import build_features, ingest, publish_features
from pipelines.placement import place

SECTIONS = ("venue", "data", "features")


class MarketSteps(NamedTuple):
    """Hand on what the three steps give: version and end of the market, its frame, and the publication."""

    version: PipelineChannel
    end_ms: PipelineChannel
    frame: PipelineChannel
    published: dsl.PipelineTask


class Result(NamedTuple):
    """What the graph hands back: the version of the market, and the close of its last bar."""

    version: str
    end_ms: int


def publish_market(home: str, code: str, venue: str, data: str, features: str) -> MarketSteps:
    """Wire the steps from the venue to the feature store into the graph that is being made.

    `ingest` asks the venue anew every time, and the publication looks at the store anew; the frame is taken
    from the cache when the version of the market, the settings and the code are unchanged.
    """
    market = place(ingest(home=home, venue=venue, data=data), cpu="1", memory="2G", timeout_minutes=60)
    market.set_caching_options(False)
    version, end_ms = market.outputs["version"], market.outputs["end_ms"]
    built = build_features(
        home=home, code=code, market_version=version, end_ms=end_ms, data=data, features=features
    )
    frame = place(built, cpu="1", memory="4G", timeout_minutes=30).outputs["frame"]
    published = place(publish_features(home=home, frame=frame), cpu="1", memory="4G", timeout_minutes=30)
    published.set_caching_options(False)
    return MarketSteps(version, end_ms, frame, published)


@dsl.pipeline(name="carryflow-ingest", description="Fetch, featurise and publish what is new of the market.")
def ingest_market(home: str, code: str, venue: str, data: str, features: str) -> Result:
    """Wire the hourly graph."""
    steps = publish_market(home=home, code=code, venue=venue, data=data, features=features)
    return Result(steps.version, steps.end_ms)
