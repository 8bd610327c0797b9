"""Replace the running bundle by a newer one without losing a frame. Read in this order: candidate, shadow, updater.

Engines that are still being built (`building`) replace a temporary one in the same way.

    requested ─▶ verified, memory checked, loaded, golden clip run ─▶ in shadow ─▶ swapped ─▶ marked good
    by --watch   in a separate thread, beside the running one         on the       between    after enough
    or a call                                                         same frames  two frames predictions

If any step fails, the running bundle stays and the reason is reported. `ledger` stores across restarts what runs and
what was refused and why; `watching` detects new bundles in a folder.
"""

from __future__ import annotations

from stpr.runtime.updates.models import Models
from stpr.runtime.updates.updater import Updater

__all__ = ["Models", "Updater"]
