"""Deliberate faults in the code that keeps the books. Each must fail the suite: tests/proof/test_mutants.py sees to it."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """Replace `old`, which stands in `path` exactly once, by `new`."""

    name: str
    path: str
    old: str
    new: str


_PLAN = "shared/domain/ledger/commit_plan.py"
_LEDGER = "shared/domain/ledger/balance.py"
_COMMITTER = "shared/adapters/tables/committer.py"
_ENTRIES = "shared/adapters/tables/ledger.py"
_PRICING = "shared/domain/pricing/price_book.py"
_RATE = "shared/domain/rate_limit.py"
_STORE = "shared/adapters/in_memory/table_store.py"
_READER = "shared/adapters/tables/lane_reader.py"
_HOT = "shared/adapters/tables/hot_lanes.py"
_LANES = "shared/domain/ledger/lanes.py"

MUTANTS = [
    Mutant("admission ignores what is reserved", _LEDGER, "held = self.used + self.reserved + amount", "held = self.used + amount"),
    Mutant("admission ignores what is used", _LEDGER, "held = self.used + self.reserved + amount", "held = self.reserved + amount"),
    Mutant("admission is off by one", _LEDGER, "held.tokens > self.limit.tokens + self.transferred.tokens:", "held.tokens > self.limit.tokens + self.transferred.tokens + 1:"),
    Mutant("admission ignores the budget", _LEDGER, "if held.pusd > (", "if held.pusd > 2 * ("),
    Mutant("admission ignores the state", _LEDGER, "if self.state is not LaneState.OPEN:", "if self.state is LaneState.CLOSED:"),
    Mutant("the merge has no If-Match", _STORE, "elif isinstance(change, Merge) and row.etag != change.etag:", "elif isinstance(change, Merge) and not row.etag:"),
    Mutant("commit ids are not kept", _PLAN, "balance.recent = (commit_id, *base.recent[: RECENT_COMMITS - 1])", "balance.recent = ()"),
    Mutant("a lost answer counts as committed", _COMMITTER, "if plan.commit_id in current.balance.recent:", "if plan.commit_id in current.balance.recent or isinstance(error, AnswerLost):"),
    Mutant("a lost answer counts as not committed", _COMMITTER, "if plan.commit_id in current.balance.recent:", "if plan.commit_id in current.balance.recent[1:]:"),
    Mutant("settling twice books twice", _COMMITTER, "is_done = not is_held and not (marker and isinstance(operation, LateSettle))", "is_done = False"),
    Mutant("a settlement is lost with its caller", _COMMITTER, "not self.answer.done() or isinstance(self.operation, Settle | LateSettle | Adjust)", "not self.answer.done()"),
    Mutant("an abandoned hold stays", _COMMITTER, "if isinstance(operation, Reserve) and pending.answer.done():", "if isinstance(operation, Reserve) and pending.resolved:"),
    Mutant("a refusal stands on a stale copy", _COMMITTER, "if not (plan.refused or plan.failed) or self._age(copy) <= FRESH_SECONDS:", "if True:"),
    Mutant("one operation a rid is not enforced", _COMMITTER, "if rows + operation.rows > MAX_BATCH_ROWS or operation.rid in rids:", "if rows + operation.rows > MAX_BATCH_ROWS:"),
    Mutant("a transaction grows beyond its limit", _COMMITTER, "if rows + operation.rows > MAX_BATCH_ROWS or", "if rows + operation.rows > 2 * MAX_BATCH_ROWS or"),
    Mutant("a cancelled lone commit is forgotten", _COMMITTER, "self._in_flight = plan, copy, _UNANSWERED", "self._in_flight = None"),
    Mutant("a failed batch hands its plan to the next", _COMMITTER, "            self._in_flight = None\n            for pending in batch:", "            for pending in batch:"),
    Mutant("the hold is not given back", _PLAN, "self.balance.reserved -= reservation.amount", "self.balance.reserved -= outcome.amount"),
    Mutant("open reservations are not counted down", _PLAN, "self.balance.open_reservations -= 1", "self.balance.open_reservations -= 0"),
    Mutant("the reservation row stays", _PLAN, "self.changes.append(DeleteReservation(reservation.rid))", "pass"),
    Mutant("expiry leaves no marker", _PLAN, "if isinstance(operation, Expire):", "if isinstance(operation, Expire) and not outcome.amount.tokens:"),
    Mutant("a late settlement charges all again", _PLAN, "outcome, amount=outcome.amount - operation.charged,", "outcome, amount=outcome.amount,"),
    Mutant("a late settlement is no excess", _PLAN, "self.balance.excess += outcome.amount.excess_over(operation.charged)", "self.balance.excess += outcome.amount.excess_over(reservation.amount)"),
    Mutant("a late settlement may come twice", _PLAN, "self.changes.append(DeleteMarker(reservation.rid))", "pass"),
    Mutant("an adjustment may come twice", _PLAN, "self.changes.append(InsertLateMark(reservation.rid))", "pass"),
    Mutant("a settlement after the close is dropped", _ENTRIES, "if marker is not None:", "if marker is None:"),
    Mutant("a period closes over open reservations", _PLAN, "if self.balance.open_reservations:", "if self.balance.open_reservations > 10**6:"),
    Mutant("a closed period takes entries", _PLAN, "if self.balance.state is LaneState.CLOSED:", "if self.balance.state is LaneState.CLOSING:"),
    Mutant("entries are numbered from the balance before", _PLAN, "balance.seq += 1\n", "balance.seq += 0\n"),
    Mutant("the chain skips the hash before", "shared/domain/audit/hash_chain.py", "head.encode() + self._encode(fields)", "self._encode(fields)"),
    Mutant("output is priced as input", _PRICING, "bases = dict.fromkeys(INPUT_METERS, Meter.INPUT) | dict.fromkeys(OUTPUT_METERS, Meter.OUTPUT)", "bases = dict.fromkeys(METERS, Meter.INPUT); prices.pop(Meter.OUTPUT, None)"),
    Mutant("the oldest price wins", _PRICING, "_precedence(price) > _precedence(known)", "_precedence(price) < _precedence(known)"),
    Mutant("a rate is admitted too early", _RATE, "wait = max(requests, arrival) - moment - _MINUTE", "wait = max(requests, arrival) - moment - 2 * _MINUTE"),
    Mutant("a rate forgets what came before", _RATE, "return max(arrival, moment) - ", "return moment - "),
    Mutant("a rate is rounded in the caller's favour", _RATE, "- (-cost * _MINUTE // per_minute)", "+ cost * _MINUTE // per_minute // 2"),
    Mutant("expired by the wrong deadline", "shared/application/ledger/expire_reservations.py", "if held.deadline < now]", "if held.deadline > now]"),
    Mutant("expiry by input charges the output too", "shared/application/ledger/expire_reservations.py", "if policy is ExpiryPolicy.INPUT:", "if policy is ExpiryPolicy.FULL:"),
    Mutant("cached input is billed twice", "shared/domain/pricing/usage.py", "input=prompt - cached_input - written", "input=prompt - written"),
    Mutant("images are held for nothing", _PRICING, "dearest if units is NOTHING_USED else dearest + self.cost(units)", "dearest"),
    Mutant("the price of any image is that of every image", _PRICING, "and price.variant in (None, variant)", "and price.variant is None"),
    Mutant("a model without a price is served", _PRICING, "if all(meter in best for meter in meters):", "if any(meter in best for meter in meters):"),
    Mutant("a severity below the threshold is refused", "shared/domain/content_filter.py", "_SEVERITIES[_SEVERITIES.index(threshold) :]", "_SEVERITIES"),
    Mutant("a period closes before its grace is over", "shared/application/ledger/close_period.py", "if self._clock.now() < period.end + self._grace:", "if self._clock.now() < period.end:"),
    Mutant("rollups overtake each other", "shared/adapters/tables/rollups.py", "Merge(_WATERMARK, mark, since.etag) if since.etag", "Merge(_WATERMARK, mark, (await self.watermark(lane)).etag) if since.etag"),
    Mutant("the watermark stays behind", "shared/application/ledger/roll_up_usage.py", "return seq, sums", "return max(since.seq + 1, seq - 1), sums"),
    Mutant("rollups skip an entry", "shared/application/ledger/roll_up_usage.py", "seq = entry.seq\n", "seq = entry.seq + 1\n"),
    Mutant("a transfer may come twice", _PLAN, "self.changes.append(InsertTransfer(operation))", "pass"),
    Mutant("room that is gone is given", _PLAN, "if transferred.excess_over(available(self.balance)) != Amount():", "if transferred.tokens < 0:"),
    Mutant("what goes out stays", _PLAN, "transferred, kind = Amount() - transferred, EntryKind.TRANSFER_OUT", "transferred, kind = Amount(), EntryKind.TRANSFER_OUT"),
    Mutant("a lane that is taken is given again", _PLAN, "if balance.owner != operation.owner and", "if balance.owner == operation.owner and"),
    Mutant("what never arrived is lost", _HOT, "if xid not in arrived]", "if xid in arrived]"),
    Mutant("a period closes over what is on its way", _ENTRIES, "await self._hot.recover(account.vault, is_last=True)\n        lanes = ", "lanes = "),
    Mutant("a lane opens with the tenant's limit", _READER, "return lane_limit(vault.limit), vault.state", "return vault.limit, vault.state"),
    Mutant("a lane opens in a closing month", _READER, "return lane_limit(vault.limit), vault.state", "return lane_limit(vault.limit), LaneState.OPEN"),
    Mutant("what lanes hold is lost when a tenant gets cold", _ENTRIES, "if committer.balance is None or committer.balance.transferred == Amount():", "if committer.balance is None or account.lanes == 1:"),
    Mutant("a lowered limit stays with the lanes", _HOT, "if shortage(current, Amount()) != Amount():", "if shortage(current, Amount()) == Amount():"),
    Mutant("lanes keep a limit of their own", _HOT, "if number and balance.limit != own:", "if number > 64:"),
    Mutant("a donor gives more than it has", _LANES, "min(has.tokens, max(need.tokens", "min(has.tokens + 1, max(need.tokens"),
    Mutant("each lane has the whole rate", _RATE, "_arrival(self.requests, limits.lanes, ", "_arrival(self.requests, 1, "),
    Mutant("a lane's room ignores what it holds", _LEDGER, "self.limit.tokens + self.transferred.tokens - self.used.tokens - self.reserved.tokens", "self.limit.tokens + self.transferred.tokens - self.used.tokens"),
    Mutant("a grant is lost when the quota changes", _PLAN, "operation.limit.plus(self.balance.granted)", "operation.limit"),
    Mutant("a rollup forgets what it was", "shared/adapters/tables/rollups.py", "_rollup_from(row)[1] + sums", "sums"),
]  # fmt: skip
