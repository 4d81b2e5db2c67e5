"""Settings of the dashboard; whoever runs it sets environment variables, nobody edits this file.

`MESH_URL` is the one that decides about security: `http://` on loopback allows plain cookies, `https://`
means secure cookies and HSTS, `http://` elsewhere refuses to start unless `MESH_ALLOW_PLAIN_HTTP=1`
(drain-and-control §4).
"""

import os
from datetime import timedelta
from pathlib import Path

from dashboard import engines, retention
from dashboard.secrets import MeshUrl, networks, secret_key

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(os.environ.get("MESH_VAR", BASE_DIR / "var")).resolve()
MESH_URL = MeshUrl.parse(
    os.environ.get("MESH_URL", "http://127.0.0.1:8000"),
    allow_plain_http=os.environ.get("MESH_ALLOW_PLAIN_HTTP") == "1",
)
MESH_TRUSTED_PROXIES = networks("MESH_TRUSTED_PROXIES", os.environ.get("MESH_TRUSTED_PROXIES", ""))
MESH_RETENTION = retention.parse(os.environ)
SECRET_KEY = secret_key(VAR_DIR / "secrets")
DEBUG = False
ALLOWED_HOSTS = MESH_URL.allowed_hosts
CSRF_TRUSTED_ORIGINS = [MESH_URL.origin]

INSTALLED_APPS = [  # without Daphne: as an app it would put its `runserver` beside our `serve`
    "dashboard.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "django_htmx",
    "template_partials",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_filters",
    "csp",
    "axes",
    "dashboard",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "dashboard.edge.host.only_our_names",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
    "dashboard.edge.room.RoomForOrders",
    "dashboard.edge.one_hop.one_hop",
]
ROOT_URLCONF = "dashboard.urls"
ASGI_APPLICATION = "dashboard.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "dashboard.edge.room.notice",
            ],
        },
    }
]
DATABASES = {"default": engines.database(os.environ.get("DATABASE_URL", ""), folder=VAR_DIR)}
CHANNEL_LAYERS = {"default": engines.channel_layer(os.environ.get("CHANNEL_LAYER_URL", ""))}
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]  # an office behind one address isn't locked out by one
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # the page says when it ends, and its row stays small
AXES_LOCKOUT_CALLABLE = "dashboard.web.login.locked"
AXES_CLIENT_IP_CALLABLE = "dashboard.edge.address.of_login"
AXES_DISABLE_ACCESS_LOG = True  # the audit has who signed in
AXES_VERBOSE = False
AXES_ENABLE_ADMIN = (
    False  # it would let rows be deleted, and the audit not know; `manage.py axes_reset` unlocks
)
LOGIN_URL = "/login/"
CSRF_FAILURE_VIEW = "dashboard.web.refused.foreign_form"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login/"

USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False
STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"  # for proxies that serve it themselves; `serve` needs no collectstatic
STATICFILES_DIRS = [BASE_DIR / "static"]

# "__Host-" lets a browser take the cookie only from this very host over https.
COOKIE_PREFIX = "__Host-" if MESH_URL.secure else ""
SESSION_COOKIE_NAME = f"{COOKIE_PREFIX}meshboard_session"
CSRF_COOKIE_NAME = f"{COOKIE_PREFIX}meshboard_csrf"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = MESH_URL.secure
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 7 * 24 * 3600  # a wallboard is signed in once a week
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = False  # the proxy in front redirects; behind it every request would loop
SECURE_HSTS_SECONDS = 31_536_000 if MESH_URL.secure else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = MESH_URL.secure
SILENCED_SYSTEM_CHECKS = ["security.W008"]  # SSL redirect, see above
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],  # scripts, styles, images and connections too, and none of them inline
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "object-src": ["'none'"],
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # as dashboard.serving.limits, for whoever serves otherwise
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200
DATA_UPLOAD_MAX_NUMBER_FILES = 0  # nothing takes files

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "format": "{asctime}.{msecs:03.0f} {levelname} {name}: {message}",
            "datefmt": "%Y-%m-%dT%H:%M:%S",
            "style": "{",
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django": {"level": "INFO", "handlers": [], "propagate": True},
        "django.request": {"level": "ERROR"},  # a 404 is the client's matter
        "django.security": {"level": "CRITICAL"},  # and a 400 or 403, too, as often as they come
        "daphne": {"level": "WARNING"},
        "twisted": {"level": "ERROR"},  # below that it tells of every client that left without a goodbye
        "axes": {"level": "WARNING"},
        "channels_redis": {
            "level": "CRITICAL"
        },  # a traceback a second while Redis is away; dashboard.hints says it
        "psycopg.pool": {"level": "ERROR"},  # the same of PostgreSQL; who needs it says it
    },
}

REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "dashboard.api.openapi.Documented",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,  # ?format= is a parameter that nobody knows, like any other
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Meshboard",
    "VERSION": "1",
    "DESCRIPTION": "The control room of a mesh of LLM gateway nodes. docs/api.md tells how to begin.",
    "OAS_VERSION": "3.1.0",  # may name the scopes of a bearer token with each operation
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": [],  # enums stay where they are used, under no names that somebody must make up
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SERVERS": [{"url": "/", "description": "this dashboard"}],
}
