"""The page: alert history behind a login, live."""

from cloud_sink.web.live import Live
from cloud_sink.web.login import login_routes
from cloud_sink.web.routes import HERE, NeedLogin, Pages, page_routes
from cloud_sink.web.security import SecureHeaders, SmallForms

__all__ = ["HERE", "Live", "NeedLogin", "Pages", "SecureHeaders", "SmallForms", "login_routes", "page_routes"]
