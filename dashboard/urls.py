"""The dashboard's addresses."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", include("dashboard.api.urls")),
    path("admin/", admin.site.urls),
]
