"""`headway.wsgi:app` for any WSGI server: the control plane without its loops.

Loops (reconciler, courier, upkeep) are started by `headway control`, which may run beside it.
"""

from headway.app import create_app
from headway.settings import Settings
from headway.wiring.control import application

app = application(Settings(), create_app)
