"""`x_mock`: what a request says about its own answer. A field of the body; in a form, JSON text.

{"status": 429, "retry_after_s": 2}      an error, in the shape of the API that was asked
{"hang": true}                           no answer at all
{"gap_ms": 20, "die_after": 2}           any field of `Plan`
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from support.model_answers.answer import JSON_TYPE, Refused, Request, refusal
from support.model_plan import Plan

FIELD = "x_mock"
PLAN_FIELDS = frozenset(
    {"gap_ms", "first_byte_ms", "first_event_ms", "die_after", "die_at_once", "hang", "piece_bytes", "done"}
)


def wished(request: Request, plan: Plan) -> Plan:
    """Return `plan` with what the request wants of its answer laid over it."""
    wish = _wish(request)
    changes: dict[str, Any] = {name: wish[name] for name in PLAN_FIELDS & wish.keys()}
    plan = replace(plan, **changes)
    status = wish.get("status")
    if status is None:
        return plan
    error = Refused(
        status,
        wish.get("message", f"the model server says {status}"),
        param=wish.get("param"),
        code=wish.get("code"),
    )
    headers = {"Content-Type": JSON_TYPE}
    if "retry_after_s" in wish:
        headers["Retry-After"] = str(wish["retry_after_s"])
    return replace(plan, status=status, body=refusal(error, request.path), headers=headers)


def _wish(request: Request) -> dict[str, Any]:
    try:
        asked = request.form() if request.is_form else json.loads(request.body)
        said: Any = asked.get(FIELD, {}) if isinstance(asked, dict) else {}
        # Text, where a client has no other way to put an object into a form.
        decoded = json.loads(said) if isinstance(said, bytes | str) else said
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}
