"""`POST /v1/hello`, `/v1/alerts`, `/v1/status`: msgpack in, JSON out, bearer key. `docs/sink.md` describes it."""

import asyncio
import logging
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from agent.errors import EdgeError, Refused
from agent.model.alert import MAX_ALERT, Alert, Hello, StatusSummary
from agent.rates import Rates
from cloud_sink.ingest.answers import TooMany, answer_of, unknown_key
from cloud_sink.ingest.intake import Intake
from cloud_sink.ingest.openapi import described
from cloud_sink.settings import Limits
from cloud_sink.store import Access
from cloud_sink.store.models import Key

logger = logging.getLogger(__name__)

BODY_TIMEOUT = 60.0
"""Seconds in which a whole body must arrive."""


def ingest_routes(intake: Intake, access: Access, limits: Limits) -> APIRouter:
    """The routes; `intake` does the work in threads."""
    router = APIRouter(prefix="/v1", tags=["ingest"])
    rates = Rates(limits.rate, limits.burst)
    strangers = Rates(limits.strangers, limits.strangers_burst)

    async def authorised(request: Request) -> Key:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        key = await asyncio.to_thread(access.key, text.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            if wait := strangers.take(request.client.host if request.client else ""):
                raise TooMany(wait)
            raise unknown_key()
        if wait := rates.take(key.id):
            raise TooMany(wait)
        return key

    Authorised = Annotated[Key, Depends(authorised)]

    @router.post("/hello", openapi_extra=described(Hello))
    async def hello(request: Request, key: Authorised) -> JSONResponse:
        """Confirm that this is a sink and that the key is valid; return the building's name."""
        name = await asyncio.to_thread(intake.hello, key, await _body(request))
        return JSONResponse({"building": name, "service": "edge-sink"})

    @router.post("/alerts", openapi_extra=described(Alert))
    async def alerts(request: Request, key: Authorised) -> JSONResponse:
        """Store one alert; `stored` is false when the sink already has it."""
        event_id, new = await asyncio.to_thread(intake.alert, key, await _body(request), "https")
        return JSONResponse({"id": event_id, "stored": new})

    @router.post("/status", openapi_extra=described(StatusSummary))
    async def status(request: Request, key: Authorised) -> JSONResponse:
        """Store the building's newest status summary; `every` asks for a summary every so many seconds."""
        return JSONResponse(await asyncio.to_thread(intake.status, key, await _body(request)))

    return router


async def answer_error(_request: Request, e: Exception) -> JSONResponse:
    """An EdgeError as the JSON answer that the uplink understands."""
    assert isinstance(e, EdgeError)
    status, headers, body = answer_of(e)
    if status not in (401, 429):
        logger.warning("refused a request: %s (%s)", e.message, e.code)
    return JSONResponse(body, status_code=status, headers=headers)


async def _body(request: Request) -> bytes:
    """The whole body; raises Refused as soon as it is too long or too late."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_ALERT:
                    raise Refused(f"a body has at most {MAX_ALERT} bytes", code="sink.too-large")
    except TimeoutError as e:
        raise Refused("the body did not arrive in time", code="sink.body") from e
    return bytes(body)
