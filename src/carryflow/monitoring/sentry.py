"""Errors to Sentry, only where a DSN says so, and without anything that could open an account."""

import re
from collections.abc import Mapping
from typing import Any

SECRET = re.compile(r"key|secret|token|passw|passphrase|dsn|auth|cookie|signature", re.IGNORECASE)
"""A name that holds one of these words holds a credential."""

SIGNED_QUERY = re.compile(r"\b((?:api_?key|signature|token|secret|passphrase)=)[^&\s\"']+", re.IGNORECASE)
"""A credential inside a URL, as exchanges want it in their signed requests."""

SCRUBBED = "[scrubbed]"


def start_error_reporting(environment: Mapping[str, str], component: str, release: str) -> bool:
    """Report unhandled errors of this process to Sentry; return whether that was asked for.

    Args:
        environment: the process's environment; nothing happens unless it names SENTRY_DSN.
        component: which part of carryflow this process is, such as "predictor".
        release: version of carryflow.

    Local variables, request bodies and the host's name are never sent; see `scrub` for the rest.
    """
    dsn = environment.get("SENTRY_DSN", "").strip()
    if not dsn:
        return False
    import sentry_sdk

    sentry_sdk.init(
        dsn=dsn,
        environment=environment.get("SENTRY_ENVIRONMENT", "production"),
        release=f"carryflow@{release}",
        include_local_variables=False,
        max_request_body_size="never",
        traces_sample_rate=0.0,
        before_send=scrub,
    )
    sentry_sdk.set_tag("component", component)
    return True


def scrub(event: Any, hint: Mapping[str, Any] | None = None) -> Any:
    """Return the event without credentials: values under telling names go, and those inside URLs.

    >>> scrub({"extra": {"api_key": "k", "url": "/order?qty=1&signature=ab12"}, "server_name": "host"})
    {'extra': {'api_key': '[scrubbed]', 'url': '/order?qty=1&signature=[scrubbed]'}}
    """
    del hint  # Sentry hands the exception over as well; the event already says all that may be said
    return _clean({name: value for name, value in event.items() if name != "server_name"})


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: SCRUBBED if SECRET.search(str(name)) else _clean(inner) for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_clean(inner) for inner in value]
    if isinstance(value, str):
        return SIGNED_QUERY.sub(rf"\g<1>{SCRUBBED}", value)
    return value
