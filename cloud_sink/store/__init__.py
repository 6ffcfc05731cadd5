"""The sink's store: alerts and access in a database, photos on disk."""

from cloud_sink.store.access import Access, Visitor
from cloud_sink.store.alerts import Alerts, StoredPhoto
from cloud_sink.store.database import open_database
from cloud_sink.store.photos import PhotoStore

__all__ = ["Access", "Alerts", "PhotoStore", "StoredPhoto", "Visitor", "open_database"]
