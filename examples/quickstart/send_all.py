from taskdb import default_taskdb, submit_fan_out

numbers = [f"2031-05/{number:03}" for number in range(1, 101)]
items = ({"number": number} for number in numbers)
parent = submit_fan_out("invoice.send", items, tolerate=1, on_join="invoice.report")
parent = parent.wait(timeout=60)
counts = default_taskdb().trees.counts(parent.id)
print(parent.status, f"{counts.succeeded} of {counts.total}")
print(parent.result["failed"])
