from taskdb import submit_many

numbers = ["2031-05/011", "2031-05/012", "2031-05/013"]
tasks = submit_many("invoice.send", [{"number": number} for number in numbers])
for task in tasks:
    done = task.wait(timeout=30)
    print(done.status, done.result)
