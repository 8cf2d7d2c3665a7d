# `make help` lists the commands. A machine needs only Python 3.11 (or newer) and make; see
# CONTRIBUTING.md for the one server that pip cannot bring.

PYTHON  ?= python3
VENV    ?= .venv
# Processes that run tests at the same time; most of them wait most of the time.
WORKERS ?= 4
# Where `make docs` writes the site, and the address that it will have (empty: links are relative).
SITE     ?= site
SITE_URL ?=
# More words for pytest: make test ARGS='-k relay'
ARGS    ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
# The build backend comes from the same pins, so it is installed first and not fetched aside.
INSTALL := $(PIP) install --constraint constraints.txt --no-build-isolation

# The tests start hundreds of interpreters: each would compile every file again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo docs figures test test-long test-django6 python-for-django6 test-upgrade versions \
  check chaos compose bench clean lock sbom audit

help:
	@echo 'make demo    see it work, without any server (under 2 minutes from a bare clone)'
	@echo 'make test    run the tests, with real servers (about 11 minutes, and 1 to install)'
	@echo 'make test-long   the upgrade of a running site, backups, the examples, many rounds (about 5 minutes)'
	@echo 'make test-django6   the tests of Django again, with Django 6 on Python 3.12 or newer'
	@echo 'make test-upgrade   the running verbs of the release before, on the schema of this one (3 minutes)'
	@echo 'make versions   build wheel and sdist, run the tests from the wheel on each Python, PostgreSQL,'
	@echo '             Redis and Django (over an hour); ARGS=--list names them'
	@echo 'make check   lint, format, types, import contracts, words, docs and deployment files'
	@echo 'make docs    build the site of the docs into $(SITE)/, with its links checked'
	@echo 'make figures the size of the code and the time of its imports, beside their goals'
	@echo 'make chaos   break it on purpose, 60 ways (under 10 minutes); ARGS=--help tells more'
	@echo 'make compose test the containers: needs Docker and docker-compose (under 15 minutes)'
	@echo 'make bench   measure'
	@echo 'make lock    write the hashes of what the image installs, from constraints.txt'
	@echo 'make sbom    write the bill of materials of the image (CycloneDX) to sbom.json'
	@echo 'make audit   ask the package index for known vulnerabilities of what the image installs'
	@echo 'make clean   remove $(VENV) and the caches'
	@echo "Options: PYTHON=$(PYTHON) VENV=$(VENV) WORKERS=$(WORKERS) ARGS='-k words'"

demo: $(VENV)/.installed-cli
	@$(BIN)/taskdb demo $(ARGS)

test: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest --quiet --numprocesses $(WORKERS) --dist worksteal \
	  --ignore tests/repository -m 'not long' $(ARGS)

# The upgrade of a running site, backups, the matrix in small, every example of the docs, and many
# rounds of the tests that go few in `make test`.
test-long: $(VENV)/.installed-dev
	@MANY_ROUNDS=1 $(BIN)/python -m pytest --quiet --numprocesses $(WORKERS) --dist worksteal \
	  -m 'long or rounds' $(ARGS)

# Django 6 needs a newer Python than the oldest that everything else is tested on.
PYTHON6 ?= $(shell for name in python3.13 python3.12 python3.14 $(wildcard \
  $(HOME)/.pyenv/versions/3.13*/bin/python $(HOME)/.pyenv/versions/3.12*/bin/python) $(PYTHON); \
  do "$$name" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null \
  && { echo "$$name"; break; }; done)
VENV6 := .venv-django6

test-django6: $(VENV6)/.installed
	@$(VENV6)/bin/python -m pytest --quiet --numprocesses $(WORKERS) tests/django_site $(ARGS)

python-for-django6:
	@test -n "$(PYTHON6)" \
	  || { echo 'No tests on Django 6: they need Python 3.12 or newer, with venv. Name one:' >&2; \
	       echo 'make PYTHON6=/path/to/python3.12 test-django6' >&2; exit 1; }

$(VENV6)/.installed: pyproject.toml constraints.txt constraints-django6.txt
	@$(MAKE) -s python-for-django6
	@echo 'Installing celery-taskdb and Django 6 into $(VENV6) …'
	@"$(PYTHON6)" -m venv --clear $(VENV6)
	@grep -vi '^django==' constraints.txt >$(VENV6)/constraints.txt
	@cat constraints-django6.txt >>$(VENV6)/constraints.txt
	@$(VENV6)/bin/python -m pip -qq --disable-pip-version-check install \
	  --constraint $(VENV6)/constraints.txt --upgrade pip hatchling
	@$(VENV6)/bin/python -m pip -qq --disable-pip-version-check install \
	  --constraint $(VENV6)/constraints.txt --no-build-isolation --editable '.[django6]'
	@touch $@

# Nothing to run before the second release; then it needs a clone with its tags.
test-upgrade: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.upgrade -- --numprocesses $(WORKERS) --dist worksteal $(ARGS)

versions: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.versions $(ARGS)

# All are run, so that one round shows everything.
check: $(VENV)/.installed-dev
	@failed=; \
	for tool in 'ruff check' 'ruff format --check' mypy lint-imports 'python repository/words.py' \
	    'python repository/site.py' 'python -m pytest --quiet tests/repository'; do \
	  echo "$$tool"; $(BIN)/$$tool || failed="$$failed, $$tool"; \
	done; \
	test -z "$$failed" || { echo "failed:$${failed#,}" >&2; exit 1; }

docs: $(VENV)/.installed-dev
	@SITE_URL=$(SITE_URL) $(BIN)/python repository/site.py $(SITE) && echo '$(SITE)/index.html'

# Processor time counts, so the figures hold on a busy machine as well.
figures: $(VENV)/.installed-dev
	@$(BIN)/python repository/figures.py $(ARGS)

chaos: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.chaos $(ARGS)

# Their plugin would meddle with every other test, so it is asked for by name.
compose: $(VENV)/.installed-containers
	@$(BIN)/python -m pytest --quiet --timeout 900 \
	  -p pytest_docker_tools.plugin -p pytest_celery.plugin tests/compose $(ARGS)

bench: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks $(ARGS)

lock: $(VENV)/.installed-dev
	@$(BIN)/python deploy/lock.py $(ARGS)

sbom:
	@$(PYTHON) deploy/sbom.py sbom.json && echo 'sbom.json'

audit: $(VENV)/.installed-dev
	@$(BIN)/python deploy/audit.py $(ARGS)

clean:
	rm -rf $(VENV) $(VENV6) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# What the demonstration needs: a minute less than what the tests need.
$(VENV)/.installed-cli: pyproject.toml constraints.txt | $(VENV)/.made
	@echo 'Installing celery-taskdb into $(VENV) …'
	@$(INSTALL) --editable '.[cli]'
	@touch $@

# It contains the small set, so that a demonstration after it installs nothing.
$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/.made
	@echo 'Installing celery-taskdb and its development tools into $(VENV) …'
	@$(INSTALL) --editable '.[dev]'
	@touch $(VENV)/.installed-cli $@

$(VENV)/.installed-containers: $(VENV)/.installed-dev
	@$(INSTALL) --editable '.[containers]'
	@touch $@

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo '$(PYTHON) is missing or older than 3.11; name another: make PYTHON=python3.12 …' >&2; exit 1; }
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 \
	  || $(PYTHON) -m venv --clear $(VENV) >$(VENV).log 2>&1 \
	  || { cat $(VENV).log >&2; rm -rf $(VENV) $(VENV).log; \
	       echo 'This Python cannot make a virtual environment with pip in it (see above).' >&2; \
	       echo 'Debian and Ubuntu: apt-get install python3-venv' >&2; \
	       echo 'Elsewhere: name a complete one: make PYTHON=/path/to/python3 …' >&2; exit 1; }
	@rm -f $(VENV).log
	@$(PIP) install --constraint constraints.txt --upgrade pip hatchling
	@touch $@
