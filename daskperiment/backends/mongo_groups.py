"""How groups of writes are made atomic in MongoDB, without transactions.

The groups of a store are numbered, and one document, the *head*, knows the latest.  A group is
planned from what is stored, and then written down, with all its effects, into the head: one
update of one document, on the condition that the head is still at the number the plan was made
for and that everything before is applied.  That update is the commit.  Then the effects are
applied to the rows, and the head notes that they are.

Whoever finds that the latest group is not applied waits for a moment, and then applies it too:
its process may be dead.  Effects may be applied any number of times, at once and late, because
each row has the number of the group that wrote it last, and only a greater one may write it.

A plan that comes second is made again.  That one group is always committed makes this free of
deadlocks, leases and clocks.  Who comes second several times asks for the next turn, and others
let it go first; unless it does nothing with it for a moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from daskperiment.backends import mongo_payloads
from daskperiment.backends.base import Put, Write
from daskperiment.backends.mongo_payloads import INLINE, Source
from daskperiment.backends.mongo_plan import Effect, Plan
from daskperiment.backends.mongo_rows import DAMAGED, ROWS, Row, escape
from daskperiment.backends.mongo_session import Session, marker_id
from daskperiment.errors import BackendError, ConflictError, StoreCorruptError

_LOST = 5
"""Attempts after which the next turn is asked for."""


class Group:
    """Writes that are committed as one, however often it is attempted.

    Parameters
    ----------
    writes : sequence of Write
        The group.
    drop : str, optional
        A path at and under which everything is deleted first.
    """

    def __init__(self, writes: Sequence[Write], drop: str | None = None) -> None:
        self._writes, self._drop = writes, drop
        self._id = uuid4().hex
        self._sources = {
            at: mongo_payloads.source(write.data)
            for at, write in enumerate(writes)
            if isinstance(write, Put)
        }
        self._tokens: dict[str, str] = {}
        self._sent: int | None = None
        self._results: list[Any] = []

    def carry_out(self, session: Session) -> list[Any]:
        """Return the result of each write.

        Called again after the connection was lost, it finds out how far it has come.

        Raises
        ------
        ConflictError
            If the group is refused.
        """
        self._upload(session)  # which takes long, and no other thread waits for it
        with session.writing:
            if self._sent is not None:
                session.forget()
                session.finish(self._sent)
            lost = 0
            try:
                while not self._attempt(session):
                    session.forget()
                    lost += 1
                    if lost >= _LOST:
                        session.ask_for_turn(self._id)
            except ConflictError:
                if lost >= _LOST:
                    session.give_turn_back(self._id)
                raise
            if lost >= _LOST and self._sent is None:  # there was nothing to commit
                session.give_turn_back(self._id)
            return self._results

    def _attempt(self, session: Session) -> bool:
        latest = session.latest(self._id)
        if self._sent is not None and self._sent <= latest:
            if session.was_committed(self._sent, self._id):
                return True
            self._sent = None
        # A commit without an answer may still be on its way. It is for the same number as the
        # next one then, and planned from the same rows, so that only one of them succeeds.
        number = latest + 1
        plan, refusal = Plan(self._writes, number), None
        kept = session.kept(plan.payloads(self._sources))
        rows = session.read(plan)
        if any(row.get("g", 0) > latest for row in rows.values()):
            if session.is_latest(latest):
                raise StoreCorruptError(f"a row is newer than the head of the store: {DAMAGED}")
            return False
        try:
            plan.carry_out(rows, kept, self._sources)
        except ConflictError as error:
            refusal = error
        effects = [] if refusal else self._effects(session, plan)
        if not effects:
            if not session.is_latest(latest):
                return False
            if refusal is not None:
                self._tidy(session, effects)
                raise refusal
        self._results = plan.results
        if effects:
            marker = {"_id": marker_id(number), "g": number, "group": self._id}
            effects.append({"in": ROWS, "put": marker})
            written = session.written_down(effects)
            self._sent = number
            if not session.commit(number, self._id, written):
                session.discard(written.get("token"))
                return False
            session.finish(number, effects, written.get("token"))
        self._tidy(session, effects)
        return True

    def _upload(self, session: Session) -> None:
        large = {each.digest: each for each in self._sources.values() if each.size > INLINE}
        if large.keys() - self._tokens.keys():
            there = session.kept(list(large))
            for digest in large.keys() - there.keys():
                self._token(session, large[digest])

    def _token(self, session: Session, source: Source) -> str:
        if (token := self._tokens.get(source.digest)) is None:
            token, digest = mongo_payloads.upload(session.chunks, source.pieces())
            self._tokens[source.digest] = token
            if digest != source.digest:
                raise BackendError(f"{source.data!r} was changed while it was stored")
        return token

    def _effects(self, session: Session, plan: Plan) -> list[Effect]:
        def stored(source: Source) -> Row:
            if source.size <= INLINE:
                return {"size": source.size, "data": b"".join(source.pieces())}
            return {"size": source.size, "token": self._token(session, source)}

        dropped = [] if self._drop is None else [_dropping(self._drop)]
        return [*dropped, *plan.effects(self._sources, stored)]

    def _tidy(self, session: Session, effects: Sequence[Effect]) -> None:
        used = {effect["put"].get("token") for effect in effects if "put" in effect}
        for token in self._tokens.values():
            if token not in used:  # others put the same payload, or the group was refused
                session.discard(token)


def _dropping(path: str) -> Effect:
    at = escape(path)
    under = {"path": {"$gte": f"{at}/", "$lt": f"{at}0"}}  # "0" is the character behind "/"
    return {"in": ROWS, "bury": {"$or": [{"path": at}, under]}}
