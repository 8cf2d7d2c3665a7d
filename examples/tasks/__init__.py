"""A folder of task types, one module a subject. Try it in the folder above:

    export TASKDB_TASK_MODULES=tasks.greeting,tasks.customers,tasks.export
    taskdb types
    taskdb dev
    taskdb create-task greeting --message "Grüß Gott" --wait

`customers.py` is the very module that `taskdb demo` runs.
"""
