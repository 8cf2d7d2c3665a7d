"""`python -m tests.chaos`: break things on purpose, cell by cell, and print what came of it.

Exits with 1 when something was lost, a row lies, or a cell could not be carried out.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from tests.chaos import report
from tests.chaos.cell import Broker, Cell, absences, every_cell, selection
from tests.chaos.ground import Lane
from tests.chaos.run import Verdict, run_cell
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.server import ServerMissingError, remove_folders_of_dead_runs


def main(words: Sequence[str] | None = None) -> int:
    options = _options(words)
    cells = _chosen(options)
    if options.list:
        return _list(cells, everything=options.all)
    missing = _without_rabbitmq(cells)
    if missing:
        cells = [cell for cell in cells if cell.broker is not Broker.RABBITMQ]
        print(f"NOT RUN: {missing} cells on RabbitMQ: it is not installed", file=sys.stderr)
    remove_folders_of_dead_runs()
    began = time.monotonic()
    verdicts = run_all(cells, options.seed, options.lanes)
    verdicts.sort(key=lambda verdict: cells.index(verdict.cell))
    print(report.told(verdicts, "json" if options.json else "markdown" if options.markdown else ""))
    for verdict in verdicts:
        if not verdict.is_good:
            print(report.explained(verdict), file=sys.stderr)
    print(report.summary(verdicts, time.monotonic() - began, options.seed), file=sys.stderr)
    return int(any(not verdict.is_good for verdict in verdicts))


def run_all(cells: Sequence[Cell], seed: int, lanes: int) -> list[Verdict]:
    """Run cells on so many lanes at once; answers a verdict for each of them."""
    rows = _Rows(cells, seed)
    threads = [threading.Thread(target=rows.work, args=[n]) for n in range(min(lanes, len(cells)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return rows.finished()


class _Rows:
    """The cells that wait for a lane, and the verdicts."""

    def __init__(self, cells: Sequence[Cell], seed: int) -> None:
        self._cells = cells
        self._seed = seed
        self._common: SimpleQueue[Cell] = SimpleQueue()
        self._slow: SimpleQueue[Cell] = SimpleQueue()
        for cell in cells:
            (self._slow if cell.broker is Broker.RABBITMQ else self._common).put(cell)
        # A RabbitMQ takes a while to start: one does, unless there is much for it to do.
        self._slow_lanes = 1 + self._slow.qsize() // 20
        self._verdicts: list[Verdict] = []
        self._lock = threading.Lock()
        self._broken = ""

    def work(self, number: int) -> None:
        """One lane: cells until there are none left."""
        queues = [self._slow, self._common] if number < self._slow_lanes else [self._common]
        try:
            with Lane() as lane:
                while (cell := _next(queues)) is not None:
                    self._take(run_cell(cell, self._seed, lane))
        except Exception as error:  # noqa: BLE001 - its cells are said not to have been run
            self._broken = f"{type(error).__name__}: {error}"

    def finished(self) -> list[Verdict]:
        """All verdicts; a cell that no lane could run has one that says so."""
        run = {verdict.cell for verdict in self._verdicts}
        for cell in self._cells:
            if cell not in run:
                self._take(Verdict(cell, self._seed, error=f"not run: {self._broken}"))
        return self._verdicts

    def _take(self, verdict: Verdict) -> None:
        with self._lock:
            self._verdicts.append(verdict)
            done = f"{len(self._verdicts):>3}/{len(self._cells)}"
            print(f"{done} {report.line(verdict)}", file=sys.stderr, flush=True)


def _next(queues: Sequence[SimpleQueue[Cell]]) -> Cell | None:
    for queue in queues:
        try:
            return queue.get_nowait()
        except Empty:
            continue
    return None


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what is left to chance (default 1)")
    parser.add_argument("--cells", type=int, default=60, help="how many, chosen by the seed")
    parser.add_argument("--all", action="store_true", help="every cell there is")
    parser.add_argument("--only", metavar="WORDS", help="cells whose names have all these words")
    parser.add_argument("--broker", type=Broker, choices=list(Broker), help="of this one alone")
    parser.add_argument("--list", action="store_true", help="name the cells and run none")
    parser.add_argument("--lanes", type=int, default=3, help="cells at the same time (default 3)")
    parser.add_argument("--json", action="store_true", help="the table as JSON")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    return parser.parse_args(words)


def _chosen(options: argparse.Namespace) -> list[Cell]:
    if options.only:
        wanted = options.only.split(",")
        cells = [cell for cell in every_cell() if all(word in cell.name for word in wanted)]
    else:
        cells = every_cell() if options.all else selection(options.seed, options.cells)
    return [cell for cell in cells if options.broker in {None, cell.broker}]


def _list(cells: Sequence[Cell], *, everything: bool) -> int:
    for cell in cells:
        print(cell.name)
    if everything:
        for reason, places in absences().items():
            print(f"no cell for {len(places)} combinations: {reason}")
    return 0


def _without_rabbitmq(cells: Sequence[Cell]) -> int:
    """How many cells cannot be run."""
    wanted = sum(cell.broker is Broker.RABBITMQ for cell in cells)
    if wanted:
        try:
            RabbitMQ().close()
        except ServerMissingError:
            return wanted
    return 0


if __name__ == "__main__":
    sys.exit(main())
