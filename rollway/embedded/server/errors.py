"""What a server answers when it cannot do what it was asked: one exception, and vLLM's shape and words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

import msgspec
from aiohttp import web

from rollway.embedded.engine_thread import EngineDied
from rollway.inference.chat_template import TemplateFailure

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiError(Exception):
    """Becomes an error reply. As in vLLM, a ``value`` that is given is named behind the message."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "BadRequestError",
        param: str | None = None,
        value: object = None,
    ) -> None:
        if status == HTTPStatus.BAD_REQUEST and param is not None and kind == "BadRequestError":
            message += f" (parameter={param})" if value is None else f" (parameter={param}, value={value})"
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param


def invalid_body(message: str, param: str | None = None) -> ApiError:
    """The request's body has a field of the wrong type."""
    return ApiError(f"1 validation error:\n  {message}", kind="Bad Request", param=param)


def error_body(message: str, kind: str, status: int, param: str | None = None) -> bytes:
    """An error as JSON."""
    error = {"message": message, "type": kind, "param": param, "code": status}
    return msgspec.json.encode({"error": error})


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn exceptions into replies, at one place for all endpoints."""
    try:
        return await handler(request)
    except ApiError as error:
        return _reply(str(error), error.kind, error.status, error.param)
    except TemplateFailure as error:
        return _reply(str(error), "BadRequestError", 400)
    except msgspec.DecodeError as error:
        complaint = invalid_body(str(error))
        return _reply(str(complaint), complaint.kind, complaint.status)
    except EngineDied as error:
        return _reply(str(error), "InternalServerError", 500)
    except web.HTTPException as error:  # no such path or method, or a body beyond all bounds
        detail = msgspec.json.encode({"detail": HTTPStatus(error.status).phrase})
        return web.Response(body=detail, status=error.status, content_type="application/json")


def _reply(message: str, kind: str, status: int, param: str | None = None) -> web.Response:
    return web.Response(
        body=error_body(message, kind, status, param), status=status, content_type="application/json"
    )
