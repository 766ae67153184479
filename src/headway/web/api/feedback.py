"""Feedback over HTTP: what somebody says later of an answer."""

from typing import Annotated, Final

from flask import Blueprint
from pydantic import Field

from headway.auth.role import Permission
from headway.kernel.errors import Invalid
from headway.tracking.feedback import MOST_ITEMS, MOST_SCORES, Item
from headway.web.operation import caller, operation, services
from headway.web.schemas import Body, FreeText, Shown, shaped

bp: Final = Blueprint("feedback", __name__, url_prefix="/api/v1/feedback")

RequestId = Annotated[str, *shaped(r"^[A-Za-z0-9._-]{1,128}$", "is no id of a request")]
Scores = Annotated[dict[str, float], Field(min_length=1, max_length=MOST_SCORES)]
"""Named numbers from 0 (worst) to 1 (best)."""


class FeedbackItem(Body):
    request_id: RequestId
    """The `x-request-id` of the answer."""
    scores: Scores
    comment: FreeText = ""


class NewFeedback(Body):
    """One item, or up to 1,000 of them under `items`."""

    items: Annotated[list[FeedbackItem], Field(min_length=1, max_length=MOST_ITEMS)] | None = None
    request_id: RequestId | None = None
    scores: Scores | None = None
    comment: FreeText = ""


class TakenShown(Shown):
    request_id: str
    accepted: bool
    """Whether at least one of its scores was stored."""
    scores: list[str]
    """The names that were stored."""
    why_not: str
    """Why not all of them were; empty if they were."""


class FeedbackShown(Shown):
    items: list[TakenShown]
    accepted: int


@bp.post("")
@operation(
    Permission.FEEDBACK_WRITE, "Say how good answers were", takes=NewFeedback, gives=FeedbackShown
)
def give(asked: NewFeedback) -> FeedbackShown:
    taken = services().feedback.take(_items(asked), caller=caller(), now=services().clock())
    return FeedbackShown(
        items=[
            TakenShown(
                request_id=one.request_id,
                accepted=one.accepted,
                scores=list(one.scores),
                why_not=one.why_not,
            )
            for one in taken
        ],
        accepted=sum(one.accepted for one in taken),
    )


def _items(asked: NewFeedback) -> list[Item]:
    alone = asked.request_id is not None or asked.scores is not None or bool(asked.comment)
    if asked.items is not None and not alone:
        return [Item(one.request_id, one.scores, one.comment) for one in asked.items]
    if asked.items is None and asked.request_id is not None and asked.scores is not None:
        return [Item(asked.request_id, asked.scores, asked.comment)]
    raise Invalid.at(
        "", 'send either {"items": […]}, or one item alone: {"request_id": …, "scores": {…}}'
    )
