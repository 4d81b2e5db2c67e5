"""Django's registration of the dashboard."""

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps
from django.db.models.signals import post_migrate


class DashboardConfig(AppConfig):
    """The one app of the project."""

    default = True
    name = "dashboard"
    verbose_name = "Meshboard"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks, and what every migration puts in place."""
        from dashboard import checks  # noqa: F401 - registers itself
        from dashboard.services import installed  # models can't be imported before now

        post_migrate.connect(installed.after_migrate, sender=self)


class AdminConfig(admin_apps.AdminConfig):
    """Django's admin, on our own site."""

    default = False
    default_site = "dashboard.admin_site.AuditedAdmin"
