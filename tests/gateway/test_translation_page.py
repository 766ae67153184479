"""What the page on translation says of APIs and providers is what happens, cell by cell."""

import http.client
import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from tests.gateway.conftest import Traffic

from headway.testing.provider import Reply

PAGE: Final = (Path(__file__).parents[2] / "docs/reference/translation.md").read_text("utf-8")
MESSAGES: Final = [{"role": "user", "content": "hello"}]
TENSOR: Final = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
ASKED: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "/v1/chat/completions": ("/v1/chat/completions", {"messages": MESSAGES}),
    "/v1/responses": ("/v1/responses", {"input": "hello"}),
    "/v1/messages": ("/v1/messages", {"max_tokens": 9, "messages": MESSAGES}),
    "/v1/messages/count_tokens": ("/v1/messages/count_tokens", {"messages": MESSAGES}),
    "/v1/embeddings": ("/v1/embeddings", {"input": "hello"}),
    "/v2/models/{model}/infer": ("/v2/models/bot/infer", {"inputs": [TENSOR]}),
    "/v1/{path}": ("/v1/batches", {"input_file_id": "file-1"}),
}
OWN: Final = {
    "`openai` with `chat`": ("openai", ["chat"]),
    "`openai` with `responses`": ("openai", ["responses"]),
    "`anthropic`": ("anthropic", []),
    "`inference_v2`, local": ("inference_v2", []),
}


def cells() -> list[tuple[str, str, str]]:
    """Return (caller's path, column, what is said) of the table that begins the page."""
    head, *rows = re.findall(r"^\| (.+) \|$", PAGE.partition("\nA path")[0], re.MULTILINE)
    columns = head.split(" | ")[1:]
    assert columns == list(OWN)
    found = []
    for row in rows:
        name, *said = row.split(" | ")
        path = re.search(r"(/v[12]/[^`]*)`", name)
        assert path is not None
        found += [(path[1], column, cell) for column, cell in zip(columns, said, strict=True)]
    assert {path for path, _, _ in found} == set(ASKED)
    return found


def served(traffic: Traffic, column: str, condition: str) -> None:
    provider, apis = OWN[column]
    target: dict[str, Any] = traffic.target(provider=provider)
    if provider != "openai":
        target["base_url"] = traffic.provider.root
    if provider == "inference_v2":
        target = {name: target[name] for name in ("provider", "base_url", "model")}
    elif condition == "if in `passes`":
        target["passes"] = ["batches"]
    if apis:
        added = re.findall(r"^with `(\w+)`", condition)
        target["apis"] = [*apis, *added]
    traffic.serve(versions={("bot", "1.0.0"): target})


def post(traffic: Traffic, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", traffic.gateway.port, timeout=10)
    headers = {
        "authorization": f"Bearer {traffic.gateway.key}",
        "content-type": "application/json",
    }
    connection.request("POST", path, json.dumps(body), headers)
    with closing(connection), connection.getresponse() as answer:
        return answer.status, json.loads(answer.read())


@pytest.mark.parametrize(("row", "column", "said"), cells())
def test_who_calls_what_is_answered_as_the_page_says(
    traffic: Traffic, row: str, column: str, said: str
) -> None:
    verb, _, condition = said.partition(" ")
    served(traffic, column, condition)
    if row == "/v1/{path}":
        traffic.provider.script = lambda _: Reply(body=b'{"id": "batch-1"}')
    path, body = ASKED[row]

    status, answer = post(traffic, path, {"model": "bot", **body})

    came = [request.path for request in traffic.provider.requests]
    if verb == "refused":
        assert (status, came) == (404 if row == "/v1/{path}" else 400, [])
        return
    assert status == 200, answer
    ours = path.replace("/bot/", "/gpt-upstream/")
    assert (came == [ours]) is (verb == "passes")


@pytest.mark.parametrize(
    ("row", "column", "lacking"),
    [
        (row, column, condition)
        for row, column, said in cells()
        for condition in [said.partition(" ")[2]]
        if condition.startswith(("with ", "if "))
    ],
)
def test_without_what_the_page_names_it_is_refused(
    traffic: Traffic, row: str, column: str, lacking: str
) -> None:
    served(traffic, column, "")
    path, body = ASKED[row]
    status, _ = post(traffic, path, {"model": "bot", **body})
    assert status in (400, 404), lacking
    assert traffic.provider.requests == []


@pytest.mark.parametrize("row", [row for row, column, _ in cells() if "`chat`" in column][:2])
def test_a_version_with_both_apis_passes_both(traffic: Traffic, row: str) -> None:
    served(traffic, "`openai` with `chat`", "with `responses`")
    path, body = ASKED[row]
    assert post(traffic, path, {"model": "bot", **body})[0] == 200
    assert [request.path for request in traffic.provider.requests] == [path]
