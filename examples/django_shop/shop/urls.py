from django.contrib import admin
from django.urls import path
from orders import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("healthz", views.healthz),
    path("orders/", views.place),
    path("orders/<int:number>/", views.show),
]
