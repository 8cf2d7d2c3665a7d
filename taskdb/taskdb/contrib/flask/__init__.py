"""The Flask extension: settings, session and commands of the app, its context around bodies."""

from taskdb.contrib.flask.extension import FlaskTaskDB

__all__ = ["FlaskTaskDB"]
