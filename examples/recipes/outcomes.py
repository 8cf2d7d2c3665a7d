"""Every way a run ends."""

from datetime import timedelta

from taskdb import Cancel, Fail, Halt, Retry, Snooze, task

RETRY = Retry(max_attempts=3, backoff=timedelta(seconds=10), give_up_on=(ValueError,))


@task("payment.charge", retry=RETRY, timeout=timedelta(minutes=2))
def charge(bank: str) -> dict[str, str] | Fail:
    """Charge a card; `bank` stands for the bank's response."""
    if bank == "closed":
        raise Snooze(timedelta(minutes=5), "the bank is closed")
    if bank == "no connection":
        raise ConnectionError(bank)
    if bank == "no such card":
        raise ValueError(bank)
    if bank == "order withdrawn":
        raise Cancel("the order was withdrawn")
    if bank == "suspicious":
        raise Halt("a person must look at this payment")
    if bank == "declined":
        return Fail("the bank declined")
    return {"charged": bank}
