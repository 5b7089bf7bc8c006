"""How Celery reaches its Redis, for the workers and for commands that send a job."""

import ssl
from typing import Any
from urllib.parse import urlsplit

from engine.keys import CELERY_PREFIX
from engine.store import CONNECT_TIMEOUT, SOCKET_TIMEOUT


def configuration(url: str) -> dict[str, Any]:
    """Broker settings; a Sentinel URL in our form becomes the one kombu reads."""
    options: dict[str, Any] = {
        "global_keyprefix": CELERY_PREFIX,
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_keepalive": True,
        "health_check_interval": 30,
    }
    parts = urlsplit(url)
    broker: dict[str, Any] = {"broker_transport_options": options}
    if parts.scheme == "sentinel":
        login, _, hosts = parts.netloc.rpartition("@")
        options["master_name"] = parts.path.strip("/").split("/")[0]
        prefix = f"sentinel://{login}@" if login else "sentinel://"
        url = ";".join(prefix + host for host in hosts.split(","))
    elif parts.scheme == "unix":
        url = url.replace("unix://", "redis+socket://", 1)
    elif parts.scheme == "rediss" and "ssl_cert_reqs" not in parts.query:
        broker["broker_use_ssl"] = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    return broker | {"broker_url": url}
