"""Conditions match as MongoDB's do, and say what is wrong with them."""

import pytest

from headway.kernel.canonical import Json
from headway.kernel.errors import Invalid
from headway.routing.condition import compile_condition

ADA: dict[str, Json] = {
    "plan": "pro",
    "age": 36,
    "groups": ["staff", "beta"],
    "verified": True,
    "user": {"country": "GB", "tags": []},
    "dotted.name": "yes",
    "nothing": None,
}


def matches(when: Json) -> bool:
    condition = compile_condition(when)
    return condition is None or condition(ADA)


@pytest.mark.parametrize(
    "when",
    [
        {},
        {"plan": "pro"},
        {"plan": {"$eq": "pro"}, "age": 36},
        {"plan": {"$ne": "free"}},
        {"plan": {"$in": ["free", "pro"]}},
        {"plan": {"$nin": ["free"]}},
        {"age": {"$gt": 35, "$lte": 36}},
        {"age": {"$gte": 36.0, "$lt": 36.5}},
        {"age": 36.0},
        {"plan": {"$gt": "a"}},
        {"groups": "beta"},
        {"groups": ["staff", "beta"]},
        {"groups": {"$in": ["beta", "gamma"]}},
        {"verified": True},
        {"user.country": "GB"},
        {"user": {"country": "GB", "tags": []}},
        {"dotted.name": "yes"},
        {"absent": None},
        {"absent": {"$ne": 1}},
        {"absent": {"$nin": ["x"]}},
        {"absent": {"$exists": False}},
        {"nothing": {"$exists": True}},
        {"nothing": None},
        {"$or": [{"plan": "free"}, {"age": {"$gt": 30}}]},
        {"$and": [{"plan": "pro"}, {"verified": True}]},
        {"$not": {"plan": "free"}},
        {"age": {"$not": {"$gt": 40}}},
        {"absent": {"$not": {"$gt": 40}}},
    ],
)
def test_condition_that_holds(when: Json) -> None:
    assert matches(when)


@pytest.mark.parametrize(
    "when",
    [
        {"plan": "free"},
        {"plan": "pro", "age": 35},
        {"verified": 1},
        {"age": True},
        {"age": {"$gt": "35"}},
        {"plan": {"$gt": 1}},
        {"verified": {"$gte": 0}},
        {"absent": {"$gt": 0}},
        {"absent": {"$exists": True}},
        {"groups": "gamma"},
        {"groups": {"$ne": "beta"}},
        {"groups": {"$nin": ["beta"]}},
        {"user.country.code": "GB"},
        {"plan.length": 3},
        {"user": {"country": "GB"}},
        {"$or": [{"plan": "free"}, {"age": {"$gt": 50}}]},
        {"$and": [{"plan": "pro"}, {"verified": False}]},
        {"$not": {"plan": "pro"}},
        {"plan": {"$in": []}},
    ],
)
def test_condition_that_does_not_hold(when: Json) -> None:
    assert not matches(when)


def test_empty_condition_costs_nothing() -> None:
    assert compile_condition({}) is None


@pytest.mark.parametrize(
    ("when", "pointer", "words"),
    [
        ("pro", "/when", "is an object"),
        ({"plan": {"$regex": "^p"}}, "/when/plan/$regex", "list the values with $in"),
        ({"plan": {"$inn": ["a"]}}, "/when/plan/$inn", "did you mean '$in'"),
        ({"$orr": [{"a": 1}]}, "/when/$orr", "did you mean '$or'"),
        ({"$or": []}, "/when/$or", "one or more conditions"),
        ({"$or": {"a": 1}}, "/when/$or", "one or more conditions"),
        ({"$and": [1]}, "/when/$and/0", "is an object"),
        ({"plan": {"$in": "pro"}}, "/when/plan/$in", "takes a list"),
        ({"plan": {"$exists": "yes"}}, "/when/plan/$exists", "true or false"),
        ({"age": {"$gt": None}}, "/when/age/$gt", "a number or a text"),
        ({"age": {"$gt": True}}, "/when/age/$gt", "a number or a text"),
        ({"age": {"$gt": 1, "x": 2}}, "/when/age/x", "unknown operator 'x'"),
        ({"age": {"$not": 5}}, "/when/age/$not", "takes operators"),
        ({"a/b~c": {"$bad": 1}}, "/when/a~1b~0c/$bad", "unknown operator"),
    ],
)
def test_error_says_where_and_what_would_fit(when: Json, pointer: str, words: str) -> None:
    with pytest.raises(Invalid) as raised:
        compile_condition(when)
    (fault,) = raised.value.faults
    assert fault.pointer == pointer
    assert words in fault.detail


def test_condition_cannot_be_made_expensive() -> None:
    deep: Json = {"a": 1}
    for _ in range(8):
        deep = {"$not": deep}
    with pytest.raises(Invalid, match="levels deep"):
        compile_condition(deep)
    with pytest.raises(Invalid, match="100 parts"):
        compile_condition({"a": {"$in": list(range(200))}})
    with pytest.raises(Invalid, match="100 parts"):
        compile_condition({f"a{i}": i for i in range(101)})
    with pytest.raises(Invalid, match="levels deep"):
        compile_condition({"a": [[[[[[[[1]]]]]]]]})
