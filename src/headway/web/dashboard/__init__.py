"""The page that people watch a release on."""

from typing import Final

from flask import Blueprint

from headway.web.dashboard.views import bp

PAGES: Final[tuple[Blueprint, ...]] = (bp,)
