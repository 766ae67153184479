"""What the supervisor's children start with."""

from headway.supervisor import Child, children


def gateway() -> Child:
    return next(child for child in children(1) if "gateway" in child.words)


def test_gateways_keep_the_memory_of_one_request_for_the_next() -> None:
    told = gateway().reads({"PATH": "/bin"})
    assert told["PATH"] == "/bin"
    assert int(told["MALLOC_TRIM_THRESHOLD_"]) >= 1 << 20


def test_what_the_user_sets_is_left_alone() -> None:
    assert gateway().reads({"MALLOC_TRIM_THRESHOLD_": "7"})["MALLOC_TRIM_THRESHOLD_"] == "7"
