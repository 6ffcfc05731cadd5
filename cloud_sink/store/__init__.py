"""The sink's store: alerts and access in a database, photos on disk."""

from cloud_sink.store.access import Access, Visitor
from cloud_sink.store.alerts import Alerts, StoredPhoto
from cloud_sink.store.database import open_database
from cloud_sink.store.photos import PhotoStore
from cloud_sink.store.remembered import Remembered

__all__ = ["Access", "Alerts", "PhotoStore", "Remembered", "StoredPhoto", "Visitor", "open_database"]
