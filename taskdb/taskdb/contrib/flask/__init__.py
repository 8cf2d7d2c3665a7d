"""At home in Flask: settings of the app, its session, its commands, its context around bodies."""

from taskdb.contrib.flask.extension import FlaskTaskDB

__all__ = ["FlaskTaskDB"]
