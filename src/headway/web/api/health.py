"""Is control alive? Asked by whatever restarts it, so it touches nothing else."""

from typing import Final, Literal

from flask import Blueprint

from headway.auth.role import Permission
from headway.web.operation import operation
from headway.web.schemas import Shown

bp: Final = Blueprint("health", __name__)


class Alive(Shown):
    status: Literal["ok"] = "ok"


@bp.get("/controlz")
@operation(Permission.PUBLIC, "Say whether control is alive", gives=Alive)
def alive() -> Alive:
    return Alive()
