"""Whatever happens, in whatever order, these promises hold."""

from collections.abc import Mapping
from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.deployments.world import ADA, DIRECT, MODEL, PRODUCTION, QUICK, World

from headway.deployments.deployment import Deployment, replay
from headway.deployments.intent import Verb
from headway.kernel.canonical import Json
from headway.kernel.clock import SECOND
from headway.kernel.errors import Conflict, IllegalMove, Refused
from headway.routing.table import compile_route

CHECKED: Mapping[str, Json] = {
    **QUICK,
    "steps": [{"check": ["loads", "smoke"]}, {"send": "1%"}, {"send": "100%"}],
}
PLANS = {"quick": QUICK, "direct": DIRECT, "checked": CHECKED}
# Said here, not asked of the code under test.
ENDINGS = {"succeeded", "rolled_back", "cancelled", "abandoned"}
ACTIVE = {"running", "paused", "rolling_back", "rollback_failed"}
REGISTERED = {"1.0.0", "1.1.0", "1.2.0"}


class AnyHistory(RuleBasedStateMachine):
    @initialize(served=st.booleans(), gateways=st.integers(0, 2))
    def begin(self, served: bool, gateways: int) -> None:  # noqa: FBT001 - drawn by hypothesis
        self.world = World()
        for number in range(gateways):
            self.world.gateway(f"g{number}")
        if served:
            self.world.serve("1.0.0")
        self.endings: dict[str, str] = {}
        self.revision = 0
        self.others = [self.world.another_reconciler(name) for name in ("second", "third")]

    @rule(to=st.sampled_from(sorted(REGISTERED)), plan=st.sampled_from(sorted(PLANS)))
    def deploy(self, to: str, plan: str) -> None:
        with suppress(Conflict, Refused):
            self.world.deploy(to, PLANS[plan])

    @rule()
    def tick(self) -> None:
        self.world.tick()

    @rule(who=st.integers(0, 1))
    def another_ticks(self, who: int) -> None:
        self.others[who].tick()

    @rule(who=st.integers(0, 1), minutes=st.integers(0, 3))
    def somebody_is_frozen_between_claim_and_commit(self, who: int, minutes: int) -> None:
        frozen = self.others[who]
        claimed, rollbacks, steady = frozen._claim()
        self.world.later(minutes * 60 * SECOND)
        self.world.tick()
        for deployment in claimed:
            frozen._advance(deployment, steady=steady)
        for rollback in rollbacks:
            frozen._restorer.see_through(rollback)

    @rule(seconds=st.sampled_from([1, 5, 61, 3_600]))
    def time_passes(self, seconds: int) -> None:
        self.world.later(seconds * SECOND)

    @rule(followed=st.lists(st.booleans(), min_size=2, max_size=2))
    def gateways_flush(self, followed: list[bool]) -> None:
        for boot, follows in zip(self.world.boots, followed, strict=False):
            self.world.flush(boot, follows=follows)

    @rule(ok=st.booleans())
    def courier(self, ok: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        self.world.courier(ok=ok, detail="because")

    @rule(
        n=st.integers(0, 400),
        bad=st.integers(0, 60),
        stable_bad=st.integers(0, 60),
    )
    def traffic(self, n: int, bad: int, stable_bad: int) -> None:
        deployment = self._active()
        if deployment is not None and deployment.entered:
            with suppress(Exception):
                self.world.traffic(
                    deployment,
                    candidate=(n, min(n, bad)),
                    stable=(9 * n, min(9 * n, stable_bad)),
                )

    @rule()
    def veto(self) -> None:
        deployment = self._active()
        if deployment is not None and deployment.started_at is not None:
            with self.world.begin() as work:
                routes = work.routes.revisions(MODEL, PRODUCTION, before=10**6, limit=1)
            if routes:
                self.world.veto(deployment)

    @rule(verb=st.sampled_from(Verb), to_end=st.booleans())
    def somebody_asks(self, verb: Verb, to_end: bool) -> None:  # noqa: FBT001 - drawn
        deployment = self._active()
        if deployment is None or verb is Verb.ROLL_BACK:
            return
        to = "end" if to_end and verb is Verb.PROMOTE else None
        with suppress(IllegalMove):
            self.world.deployments.intend(deployment.id, verb, actor=ADA, why="any", to=to)

    @rule(to=st.sampled_from(["previous", *sorted(REGISTERED)]))
    def somebody_goes_back(self, to: str) -> None:
        active = self._active()
        try:
            route = self.world.route()
        except Exception:  # noqa: BLE001 - there is none yet
            return
        with suppress(Refused):
            rollback = self.world.rollbacks.roll_back(
                model=MODEL, environment=PRODUCTION, to=to, why="any", actor=ADA
            )
            assert rollback.from_revision == route.revision
            if active is not None:
                assert self.world.row(active).state == "rolling_back"
            with self.world.begin() as work:
                target = work.routes.get(MODEL, PRODUCTION, rollback.to_revision)
            assert self.world.route().text() == target.text()

    def _active(self) -> Deployment | None:
        with self.world.begin() as work:
            return work.deployments.active(MODEL, PRODUCTION)

    @invariant()
    def at_most_one_is_active(self) -> None:
        if not hasattr(self, "world"):
            return
        states = [one.state for one in self.world.deployments.list(limit=1000)]
        assert sum(state in ACTIVE for state in states) <= 1

    @invariant()
    def an_ending_is_final(self) -> None:
        for one in self.world.deployments.list(limit=1000) if hasattr(self, "world") else ():
            assert self.endings.get(one.id) in {None, one.state}
            if one.state in ENDINGS:
                self.endings[one.id] = one.state

    @invariant()
    def every_route_is_one_declared_set(self) -> None:
        if not hasattr(self, "world"):
            return
        with self.world.begin() as work:
            revisions = work.routes.revisions(MODEL, PRODUCTION, before=10**6, limit=1000)
        for route in revisions:
            compile_route(route)
            (rule_,) = route.rules
            assert sum(segment.share_bp for segment in rule_.segments) == 10_000
            assert all(segment.share_bp > 0 for segment in rule_.segments)
            assert {rule_.arm(segment.arm).version for segment in rule_.segments} <= REGISTERED
        assert [route.revision for route in revisions] == list(range(len(revisions), 0, -1))
        assert len(revisions) >= self.revision
        self.revision = len(revisions)

    @invariant()
    def history_replays_to_the_row(self) -> None:
        for one in self.world.deployments.list(limit=1000) if hasattr(self, "world") else ():
            assert replay(self.world.history(one)) == one.remembered()

    @invariant()
    def what_is_over_leaves_nobody_on_the_candidate(self) -> None:
        if not hasattr(self, "world") or self._active() is not None:
            return
        with self.world.begin() as work:
            for route in work.routes.all_current():
                assert route.epoch is None
                assert len({segment.arm for segment in route.rules[-1].segments}) == 1

    @invariant()
    def every_status_can_be_told(self) -> None:
        for one in self.world.deployments.list(limit=1) if hasattr(self, "world") else ():
            status = self.world.deployments.status(one.id)
            assert status["state"] == one.state
            assert self.world.deployments.why(one.id)


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
