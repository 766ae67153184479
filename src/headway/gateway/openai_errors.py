"""Errors as all of OpenAI's APIs write them: chat completions, responses, embeddings."""

from typing import Final

import orjson

from headway.gateway.exchange import Complaint, Problem

_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


def fault(problem: Problem) -> bytes:
    """Write a problem as the body of an answer."""
    return orjson.dumps(
        {
            "error": {
                "message": problem.detail,
                "type": _kind(problem),
                "param": problem.param,
                "code": problem.code,
            }
        }
    )


def _kind(problem: Problem) -> str:
    if problem.code == "insufficient_quota":
        return problem.code  # clients tell by it that waiting is of no use
    return _KINDS.get(problem.status, "server_error")


def complaint(body: bytes) -> Complaint:
    """Read the body of an error as OpenAI's API writes it."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Complaint()
    error = document.get("error") if type(document) is dict else None
    if type(error) is not dict:
        return Complaint()
    message, code, param = error.get("message"), error.get("code"), error.get("param")
    return Complaint(
        message if type(message) is str else "",
        code if type(code) is str else None,
        param if type(param) is str else None,
        body,
    )
