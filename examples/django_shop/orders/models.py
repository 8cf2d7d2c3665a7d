from django.db import models


class Product(models.Model):
    name = models.CharField(max_length=100, unique=True)
    stock = models.IntegerField()

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    customer = models.CharField(max_length=100)
    product = models.ForeignKey(Product, models.PROTECT)
    quantity = models.IntegerField()
    confirmation = models.CharField(max_length=200, default="")

    def __str__(self) -> str:
        return f"order {self.pk} of {self.customer}"
