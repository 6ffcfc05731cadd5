"""`edge-agent demo poke`: a phone joins the Wi-Fi of the demo that runs in another shell."""

from __future__ import annotations
