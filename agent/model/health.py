"""Health warnings: coded, with a severity and a remedy. `status` and the sink read the same table."""

from __future__ import annotations

import msgspec


class Warning(msgspec.Struct, frozen=True):
    """One thing that is wrong now. `code` like `camera.silent`; `subject` names the thing; `remedy` says what to do."""

    code: str
    subject: str
    text: str
    remedy: str
    severity: str = "warning"
