"""The metrics that Prometheus reads at /metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge

REGISTRY = CollectorRegistry()
ALERTS = Counter("edge_sink_alerts", "Alerts received", ["result"], registry=REGISTRY)
BYTES = Counter("edge_sink_alert_bytes", "Bytes of new alerts as received", registry=REGISTRY)
REFUSED = Counter("edge_sink_refused", "Requests refused", ["code"], registry=REGISTRY)
NOTICES = Counter(
    "edge_sink_notices", "Notices shown in Slack and other services", ["channel", "result"], registry=REGISTRY
)
WATCHERS = Gauge("edge_sink_watchers", "Open pages with live updates", registry=REGISTRY)
for _result in ("stored", "repeated"):
    ALERTS.labels(_result)
