from taskdb import submit_task

entity = submit_task("customers.import", {"names": ["Ada", "Grace"]}, tenant="acme")
entity = entity.wait(timeout=30)
print(entity.status, entity.result)
