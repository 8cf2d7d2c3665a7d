"""Customers from a CSV file: the very module that `taskdb demo` runs, imported from its package."""

from taskdb.cli.demo.tasks.customers import Customer, ImportCustomers, import_customers

__all__ = ["Customer", "ImportCustomers", "import_customers"]
