"""The page that people watch a release on."""

from typing import Final

from flask import Blueprint

PAGES: Final[tuple[Blueprint, ...]] = ()
