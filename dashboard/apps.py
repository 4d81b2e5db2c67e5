"""Django's registration of the dashboard."""

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    """The one app of the project."""

    name = "dashboard"
    verbose_name = "Meshboard"
    default_auto_field = "django.db.models.BigAutoField"
