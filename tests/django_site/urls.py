from django.contrib import admin
from django.urls import path

from tests.django_site import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("order/", views.order),
    path("order-async/", views.order_async),
    path("order-in-thread/", views.order_in_thread),
]
