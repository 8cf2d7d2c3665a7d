from taskdb import Retry, Sequence, task


@task("orders.ship", unique="reference")
def ship(reference: str = "") -> str:
    return reference


@task("orders.pack")
def pack(order: int = 0) -> int:
    return order


Sequence("orders.close", [pack])


@task("orders.refuse", retry=Retry(max_attempts=1))
def refuse(reason: str) -> None:
    raise ValueError(reason)
