"""What waits in the outbox is carried out, and nothing waits for anything else."""

from collections.abc import Callable
from functools import partial

from headway.kernel.canonical import Json
from headway.kernel.clock import MINUTE, SECOND
from headway.kernel.errors import Unavailable
from headway.outbox.courier import Courier
from headway.outbox.event import Event
from headway.outbox.message import Message
from headway.testing.memory import Store, begin

Do = Callable[[], None]


class World:
    """Threads that go on when the test says so, or never."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000
        self.begin = partial(begin, Store(), lambda: self.now)
        self.aside: list[Do] = []
        self.carried: list[str] = []
        self.courier = self.another("first")

    def another(self, owner: str) -> Courier:
        return Courier(
            owner,
            self.begin,
            {"webhook": self.carry, "probe": self.carry},
            aside=self.aside.append,
        )

    def carry(self, message: Message) -> Json:
        self.carried.append(message.key)
        if message.payload == "wrong":
            raise Unavailable("nobody answers")
        return {"ok": True}

    def leave(self, *keys: str, kind: str = "webhook", payload: Json = None) -> None:
        with self.begin() as work:
            for key in keys:
                message = Message(key=key, kind=kind, payload=payload, created_at=self.now)
                event = Event(kind="k", subject="s", at=self.now, actor="ada")
                work.outbox.add(event, message)
            work.commit()

    def go_on(self) -> None:
        """Let all threads end."""
        while self.aside:
            self.aside.pop(0)()


def test_webhooks_that_hang_keep_nobody_from_being_asked() -> None:
    world = World()
    world.leave(*(f"hook {n}" for n in range(30)))
    for _ in range(5):
        world.courier.tick()
    hanging = len(world.aside)
    world.leave("probe", kind="probe")
    world.courier.tick()

    assert 0 < hanging < 30
    world.aside[-1]()
    assert world.carried == ["probe"]


def test_message_that_takes_its_time_is_not_carried_twice() -> None:
    world, second = World(), []
    world.leave("slow")
    world.courier.tick()
    other = world.another("second")
    for _ in range(20):
        world.now += 5 * SECOND
        world.courier.tick()
        second.append(other.tick())
    world.go_on()
    world.now += 2 * MINUTE

    assert world.carried == ["slow"]
    assert sum(second) + other.tick() + world.courier.tick() == 0


def test_message_of_a_courier_that_died_is_carried_by_another() -> None:
    world = World()
    world.leave("m")
    world.courier.tick()
    world.aside.clear()
    world.now += 31 * SECOND
    other = world.another("second")

    assert other.tick() == 1
    world.go_on()
    assert world.carried == ["m"]


def test_failed_message_is_tried_again_after_growing_pauses() -> None:
    world = World()
    world.leave("m", payload="wrong")
    tries = []
    for second in range(32):
        if world.courier.tick():
            tries.append(second)
        world.go_on()
        world.now += SECOND

    assert tries == [0, 1, 3, 7, 15, 31]


def test_kind_that_nobody_here_carries_is_left_to_others() -> None:
    world = World()
    world.leave("m", kind="telegram")

    assert world.courier.tick() == 0
    with world.begin() as work:
        claimed = work.outbox.claim_messages(owner="other", lease=MINUTE, limit=1)
    assert [message.key for message in claimed] == ["m"]
