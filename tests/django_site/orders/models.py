from django.db import models


class Order(models.Model):
    """What a project has of its own, to be written in one transaction with a task."""

    customer = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.customer
