from taskdb import default_taskdb, submit_sequence

month = submit_sequence("month.close", {"month": "2031-05"})
month = month.wait(timeout=60)
print(month.status, month.result)
for step in default_taskdb().trees.sequence_progress(month.id).steps:
    print(step.position + 1, step.name, step.status)
