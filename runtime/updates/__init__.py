"""A running bundle is replaced by a newer one without losing a frame. Read in this order: candidate, shadow, updater.

Engines that have yet to be built (`building`) replace the one that answered meanwhile in the same way.

    asked for ─▶ verified, memory looked at, loaded, golden clip held ─▶ in shadow ─▶ swapped ─▶ marked good
    by --watch   on a thread of its own, beside the running one          on the       between    after as many
    or a call                                                            same frames  two frames predictions

Whatever fails on the way, the running one stays and the reason is said. `ledger` remembers over restarts what runs,
what was refused and why; `watching` looks for what appears in a folder.
"""

from __future__ import annotations

from stpr.runtime.updates.models import Models
from stpr.runtime.updates.updater import Updater

__all__ = ["Models", "Updater"]
