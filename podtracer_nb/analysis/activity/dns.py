"""How long DNS answers take."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Delays", "DnsDelays"]

_MOST_PENDING = 65_536
_MOST_ANSWERS = 4096
_PATIENCE = 5 * 10**9  # ns: what resolvers wait for an answer, resolv.conf(5)


@dataclass(frozen=True)
class Delays:
    """What is known of DNS.

    Attributes
    ----------
    queries, answers, unanswered
        How many so far; unanswered are queries that had no answer for five seconds.
    median, p95, longest
        Nanoseconds from a query to its answer, of the last answers in the span; None without any.
    """

    queries: int
    answers: int
    unanswered: int
    median: int | None
    p95: int | None
    longest: int | None


class DnsDelays:
    """Finds the query of each answer, among a bounded number of queries.

    Examples
    --------
    >>> delays = DnsDelays()
    >>> delays.add(np.array([7, 7], np.uint64), np.array([100, 350]), np.array([False, True]))
    [(1, 250)]
    >>> delays.told(400, 1000).median
    250
    """

    def __init__(self) -> None:
        self._pending: dict[int, int] = {}  # in the order in which they were asked
        self._took: deque[tuple[int, int]] = deque(maxlen=_MOST_ANSWERS)
        self._answers = self._queries = self._unanswered = 0

    def add(
        self, keys: npt.NDArray[np.uint64], times: npt.NDArray[np.int64], answers: npt.NDArray[np.bool_]
    ) -> list[tuple[int, int]]:
        """Take messages, in the order of time.

        Parameters
        ----------
        keys
            The same one for a query and its answer.
        times
            Nanoseconds.
        answers
            Which of them are answers.

        Returns
        -------
        list of tuple
            The place of each answer whose query was seen, and the nanoseconds that it took.
        """
        pending, found = self._pending, []
        for place, (key, time, answer) in enumerate(zip(keys.tolist(), times.tolist(), answers.tolist(), strict=True)):
            if not answer:
                pending.setdefault(key, time)  # of a query that was sent again the first one counts
            elif (asked := pending.pop(key, None)) is not None and asked <= time:
                found.append((place, time - asked))
                self._took.append((time, time - asked))
        self._answers += int(np.count_nonzero(answers))
        self._queries += int(np.count_nonzero(~answers))
        while len(pending) > _MOST_PENDING:
            del pending[next(iter(pending))]
            self._unanswered += 1
        return found

    def told(self, now: int, span: int) -> Delays:
        """Return what is known at a time, of the answers of so many nanoseconds before it."""
        pending = self._pending
        while pending and pending[first := next(iter(pending))] < now - _PATIENCE:
            del pending[first]
            self._unanswered += 1
        took = [each for time, each in self._took if time > now - span]
        if not took:
            return Delays(self._queries, self._answers, self._unanswered, None, None, None)
        median, p95 = np.quantile(took, [0.5, 0.95]).tolist()
        return Delays(self._queries, self._answers, self._unanswered, int(median), int(p95), max(took))
