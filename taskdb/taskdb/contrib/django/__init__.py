"""At home in Django: name `taskdb.contrib.django` in INSTALLED_APPS, and settings in `TASKDB`."""
