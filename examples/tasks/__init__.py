"""A folder of task types, one module a subject. Try it in the folder above:

    export TASKDB_TASK_MODULES=tasks.greeting,tasks.customers
    taskdb types
    taskdb dev
    taskdb create-task greeting --message "Grüß Gott" --wait

`customers.py` is the very module that `taskdb demo` runs. Larger examples have folders of their own
beside this one: `customer_import` (a fan-out, and a sequence of fan-outs) and `export`.
"""
