"""The weekly graph: fetch, featurise, train, prove, promote.

```
ingest ─ build_features ─ publish_features ─ training_set ─┬─ check_drift
                                                           └─ train_expert × 4
train_expert × 4 ─ train_gate ─ evaluate ─ promote
```

Each parameter named in `SECTIONS` is one section of the settings, as JSON. `home` is a folder that all steps
see (on Kubernetes a shared volume): data, feature store and registry live there; what a step hands to the
next is an artifact. `code` is the version of the product. `ingest` asks the venue anew every time, and the
steps that look at the store or the registry look anew; the others are taken from the cache when the version
of the data, their settings and the code are unchanged.
"""

from typing import NamedTuple

from kfp import dsl

from carryflow.agents.experts import EXPERTS
from components.evidence import check_drift, evaluate
from components.market import training_set
from components.promotion import promote
from components.training import train_expert, train_gate
from pipelines.ingest import publish_market
from pipelines.placement import place

SECTIONS = ("venue", "data", "features", "split", "env", "train", "drift", "evaluation", "promotion")


class Result(NamedTuple):
    """What the graph hands back: the version registered, whether it was promoted, the drift of its data."""

    version: str
    promoted: bool
    drift_share: float


@dsl.pipeline(
    name="carryflow-retrain", description="Fetch, featurise, train, prove and promote the carry policy."
)
def retrain(
    home: str,
    code: str,
    seed: int,
    venue: str,
    data: str,
    features: str,
    split: str,
    env: str,
    train: str,
    drift: str,
    evaluation: str,
    promotion: str,
) -> Result:
    """Wire the weekly graph."""
    market = publish_market(home=home, code=code, venue=venue, data=data, features=features)
    frame, end_ms = market.frame, market.end_ms

    joined = training_set(home=home, code=code, frame=frame, split=split).after(market.published)
    dataset = place(joined, cpu="1", memory="4G", timeout_minutes=30).outputs["dataset"]

    drifted = check_drift(code=code, dataset=dataset, drift=drift)
    place(drifted, cpu="1", memory="4G", timeout_minutes=30)

    with dsl.ParallelFor(list(EXPERTS), name="sub-agents", parallelism=2) as expert:
        trained = train_expert(code=code, dataset=dataset, expert=expert, env=env, train=train, seed=seed)
        place(trained, cpu="2", memory="6G", timeout_minutes=360)
    gated = train_gate(
        code=code,
        dataset=dataset,
        experts=dsl.Collected(trained.outputs["policy"]),
        env=env,
        train=train,
        seed=seed,
        created_at_ms=end_ms,
    )
    bundle = place(gated, cpu="2", memory="6G", timeout_minutes=360).outputs["bundle"]

    proven = evaluate(home=home, dataset=dataset, bundle=bundle, env=env, evaluation=evaluation)
    place(proven, cpu="1", memory="4G", timeout_minutes=60).set_caching_options(False)

    outcome = promote(
        home=home, bundle=bundle, evidence=proven.outputs["evidence"], promotion=promotion, now_ms=end_ms
    )
    place(outcome, cpu="1", memory="2G", timeout_minutes=15).set_caching_options(False)
    return Result(outcome.outputs["version"], outcome.outputs["promoted"], drifted.outputs["share"])
