"""The project's own mutants: for each way to break a promise, the code that would do so.

A row replaces a text that occurs exactly once in its file. So a row whose code has changed fails as stale, and has to
be written again. Its tests have to kill it.
"""

from dataclasses import dataclass

from tests.mutants.mutant import Mutant, Stale
from tests.support.template import ROOT

_CHANGES = "chalicelib/domain/changes.py"
_PENDING = "chalicelib/domain/pending_refunds.py"
_WRITES = "chalicelib/adapters/dynamodb/writes.py"
_UPDATE = "chalicelib/adapters/dynamodb/update.py"
_CLAIMS = "chalicelib/adapters/dynamodb/claims.py"
_REPOSITORY = "chalicelib/adapters/dynamodb/repository.py"
_PLACING = "chalicelib/use_cases/placing.py"
_FULFILMENT = "chalicelib/use_cases/fulfilment.py"
_COMPLETION = "chalicelib/use_cases/completion.py"
_CONSUMING = "chalicelib/use_cases/consuming.py"
_RECOVERY = "chalicelib/use_cases/recovery.py"
_DEAD_LETTERS = "chalicelib/use_cases/dead_letters.py"
_MONITORING = "chalicelib/use_cases/monitoring.py"
_SAGA = "chalicelib/use_cases/saga.py"
_STARTING = "chalicelib/use_cases/starting.py"
_STEPPING = "chalicelib/use_cases/stepping.py"
_EXECUTIONS = "chalicelib/adapters/executions.py"
_REQUEST = "chalicelib/domain/request.py"
_PAYING = "chalicelib/use_cases/paying.py"
_IDENTITY = "chalicelib/entrypoints/identity.py"
_LEDGER = "chalicelib/adapters/dynamodb/payment_ledger.py"
_STRIPE = "chalicelib/adapters/stripe_payments.py"
_ROUTER = "chalicelib/adapters/payment_router.py"
_ACCOUNT = "chalicelib/adapters/stripe_account.py"
_INTAKE = "chalicelib/use_cases/intake.py"
_STRIPE_API = "chalicelib/adapters/stripe_api.py"

_T_PLACING = "tests/use_cases/test_placing.py"
_T_FULFILMENT = "tests/use_cases/test_fulfilment.py"
_T_COMPLETION = "tests/use_cases/test_completion.py"
_T_CONSUMING = "tests/use_cases/test_consuming.py"
_T_RECOVERY = "tests/use_cases/test_recovery.py"
_T_DEAD_LETTERS = "tests/use_cases/test_dead_letters.py"
_T_EXPORT = "tests/ops/test_export.py"
_T_MONITORING = "tests/use_cases/test_monitoring.py"
_T_PAYING = "tests/use_cases/test_paying.py"
_T_IDENTITY = "tests/entrypoints/test_identity.py"
_T_ROLES = "tests/entrypoints/test_roles.py"
_T_METHOD = "tests/use_cases/test_payment_method.py"
_T_KEYS = "tests/use_cases/test_payment_keys.py"
_T_PENDING = "tests/use_cases/test_pending_refunds.py"
_T_REPOSITORY = "tests/adapters/dynamodb/test_repository.py"
_T_CLAIMS = "tests/adapters/dynamodb/test_claims.py"
_T_CHANGES = "tests/domain/test_changes.py"
_T_STARTING = "tests/use_cases/test_starting.py"
_T_STEPPING = "tests/use_cases/test_stepping.py"
_T_EXECUTIONS = "tests/adapters/test_executions.py"
_T_STRIPE = "tests/adapters/test_stripe_payments.py"
_T_ROUTER = "tests/adapters/test_payment_router.py"
_T_ACCOUNT = "tests/adapters/test_stripe_account.py"
_T_INTAKE = "tests/use_cases/test_intake.py"
_T_RACES = "tests/adapters/test_stripe_interleavings.py"
_EVERY_ORDER = f"{_T_RACES}::test_in_every_order_of_their_calls_two_workers_pay_once_and_conserve_the_money"
_EVERY_STRIKE = f"{_T_RACES}::test_whatever_call_goes_wrong_and_however_asking_again_pays_once_and_conserves_the_money"

_ANY_ANSWERS = f"{_T_PENDING}::test_whatever_is_answered_an_order_is_counted_once_at_most_and_ends_with_its_money_back"

_PURGED = (
    "        purged = [letter for letter in letters "
    "if not letter.order_id or self._is_left_to_recovery(letter.order_id)]\n"
)


@dataclass(frozen=True)
class Own:
    """One mutant: `name` says what goes wrong."""

    name: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]

    def mutant(self) -> Mutant:
        """Raises Stale."""
        before = (ROOT / self.path).read_text("utf-8")
        if before.count(self.old) != 1:
            raise Stale(f"{self.name}: {self.path} has {before.count(self.old)} times {self.old!r}")
        return Mutant(self.name, self.path, before, before.replace(self.old, self.new))


_CONDITIONS = (
    Own(
        "an order is created over one that exists",
        _WRITES,
        '"ConditionExpression": "attribute_not_exists(orderId)"',
        '"ConditionExpression": "attribute_not_exists(orderId) OR attribute_exists(orderId)"',
        (f"{_T_REPOSITORY}::test_a_refused_creation_brings_the_order_that_exists",),
    ),
    Own(
        "stock is taken though there is not enough",
        _WRITES,
        '"ConditionExpression": "stock >= :units"',
        '"ConditionExpression": "stock >= :units OR stock < :units"',
        (f"{_T_REPOSITORY}::test_stock_never_goes_below_zero_and_the_answer_says_what_is_left",),
    ),
    Own(
        "stock is given back only to a product that is in the catalogue",
        _WRITES,
        '{"UpdateExpression": "ADD stock :units"}',
        '{"UpdateExpression": "ADD stock :units", "ConditionExpression": "attribute_exists(productId)"}',
        (f"{_T_REPOSITORY}::test_stock_is_given_back_once_even_to_a_product_that_is_gone",),
    ),
    Own(
        "a transition happens from any status",
        _WRITES,
        '    update.require("status", order.status.value)\n    update.require("fingerprint"',
        '    update.require("fingerprint"',
        (f"{_T_REPOSITORY}::test_a_transition_happens_only_from_its_exact_status_fingerprint_and_payment_key",),
    ),
    Own(
        "a transition happens whatever the order contains",
        _WRITES,
        '    update.require("fingerprint", order.fingerprint)\n',
        "",
        (f"{_T_REPOSITORY}::test_a_transition_happens_only_from_its_exact_status_fingerprint_and_payment_key",),
    ),
    Own(
        "a transition happens to an order created again",
        _WRITES,
        '    update.require("paymentKey", order.payment_key)\n',
        "",
        (f"{_T_REPOSITORY}::test_a_transition_happens_only_from_its_exact_status_fingerprint_and_payment_key",),
    ),
    Own(
        "details of a shipment are written over",
        _WRITES,
        "        update.require_absence(fields.name_of(attribute))",
        "        fields.name_of(attribute)",
        (
            f"{_T_REPOSITORY}::test_details_of_a_shipment_are_written_only_where_there_are_none_and_nothing_else_has_changed",
        ),
    ),
    Own(
        "an outbox entry is removed or backed off though it is another one by now",
        _WRITES,
        '            update.require("outboxDueAt", times.to_text(change.seen))\n',
        "            update.require_existence()\n",
        (f"{_T_REPOSITORY}::test_a_mark_is_changed_only_if_it_is_the_one_seen",),
    ),
    Own(
        "an outbox entry is removed though the order has moved on",
        _WRITES,
        '                update.require("status", change.order.status.value)',
        "                pass",
        (f"{_T_REPOSITORY}::test_a_mark_is_changed_only_if_it_is_the_one_seen",),
    ),
    Own(
        "an outbox entry creates an order",
        _WRITES,
        "            update.require_existence()",
        '            update.require("fingerprint", change.order.fingerprint) if change.seen else None',
        (f"{_T_REPOSITORY}::test_no_change_but_a_creation_creates_an_order",),
    ),
    Own(
        "an entry that exists is set again",
        _WRITES,
        'update.set(name, value, if_absent=name != "outboxFault")',
        "update.set(name, value)",
        (f"{_T_CONSUMING}::test_on_its_last_receive_an_order_is_left_to_recovery_and_no_person_is_needed",),
    ),
    Own(
        "one of the conditions is enough",
        _UPDATE,
        '" AND ".join(self._conditions)',
        '" OR ".join(self._conditions)',
        (f"{_T_REPOSITORY}::test_a_transition_happens_only_from_its_exact_status_fingerprint_and_payment_key",),
    ),
    Own(
        "a claim is taken over while its window lasts",
        _CLAIMS,
        '"attribute_not_exists(id) OR expiresAt <= :now"',
        '"attribute_not_exists(id) OR expiresAt > :now"',
        (f"{_T_CLAIMS}::test_a_claim_has_its_order_id_until_its_window_is_over_swept_up_or_not",),
    ),
    Own(
        "a claim whose order was given up is replaced whatever its order is by now",
        _CLAIMS,
        '" OR orderId = :old"',
        '" OR orderId <> :old OR orderId = :old"',
        (f"{_T_CLAIMS}::test_a_claim_is_replaced_on_condition_of_the_old_id",),
    ),
    Own(
        "an order is deleted by its TTL while work is left",
        _WRITES,
        "if not self.ttl or after.outbox or after.status not in _EXPIRING:",
        "if not self.ttl or after.status not in _EXPIRING:",
        (f"{_T_REPOSITORY}::test_each_change_is_one_call_and_writes_the_order_as_it_is_after",),
    ),
)

_TRANSACTIONS = (
    Own(
        "each action of a transaction is written alone",
        _REPOSITORY,
        "            self.client.transact_write_items(TransactItems=actions)",
        "            for action in actions:\n                self.client.transact_write_items(TransactItems=[action])",
        (
            f"{_T_REPOSITORY}::test_one_order_in_the_way_and_nothing_is_written",
            f"{_T_REPOSITORY}::test_stock_never_goes_below_zero_and_the_answer_says_what_is_left",
        ),
    ),
    Own(
        "stock is written first, the orders after it",
        _REPOSITORY,
        "            self.client.transact_write_items(TransactItems=actions)",
        "            for part in (actions[len(changes) :], actions[: len(changes)]):\n"
        "                if part:\n"
        "                    self.client.transact_write_items(TransactItems=part)",
        (
            f"{_T_REPOSITORY}::test_one_order_in_the_way_and_nothing_is_written",
            f"{_T_REPOSITORY}::test_a_transition_happens_only_from_its_exact_status_fingerprint_and_payment_key",
        ),
    ),
    Own(
        "the orders are written first, stock after them",
        _REPOSITORY,
        "            self.client.transact_write_items(TransactItems=actions)",
        "            for part in (actions[: len(changes)], actions[len(changes) :]):\n"
        "                if part:\n"
        "                    self.client.transact_write_items(TransactItems=part)",
        (f"{_T_REPOSITORY}::test_stock_never_goes_below_zero_and_the_answer_says_what_is_left",),
    ),
    Own(
        "one order is written without its stock",
        _REPOSITORY,
        "if len(changes) == 1 and not total_stock_delta(changes):",
        "if len(changes) == 1:",
        (
            f"{_T_REPOSITORY}::test_a_transition_happens_only_from_its_exact_status_fingerprint_and_payment_key",
            f"{_T_REPOSITORY}::test_each_change_is_one_call_and_writes_the_order_as_it_is_after",
        ),
    ),
    Own(
        "stock is written without an order's transition",
        _REPOSITORY,
        "actions: Any = [self.writes.action(change) for change in changes]",
        "actions: Any = [self.writes.action(change) for change in changes if not total_stock_delta([change])]",
        (f"{_T_REPOSITORY}::test_orders_and_stock_are_written_together_to_the_last_unit",),
    ),
    Own(
        "a conflict counts as written",
        _REPOSITORY,
        "return Refused(tuple(Conflict() for _ in changes))",
        "return Committed(tuple(change.after for change in changes))",
        (f"{_T_REPOSITORY}::test_a_conflict_is_not_a_refusal",),
    ),
    Own(
        "a declined order keeps its stock",
        _CHANGES,
        "stock, fields = order.reserved or {}, ",
        "stock, fields = {}, ",
        (f"{_T_CHANGES}::test_a_transition_changes_what_it_names_and_nothing_else",),
    ),
    Own(
        "a cancelled order keeps its stock",
        _CHANGES,
        "stock, refund = order.reserved or {}, ",
        "stock, refund = {}, ",
        (f"{_T_CHANGES}::test_a_transition_changes_what_it_names_and_nothing_else",),
    ),
    Own(
        "what is given back is what the order has, not what it took",
        _CHANGES,
        "stock, refund = order.reserved or {}, ",
        "stock, refund = order.quantities, ",
        (f"{_T_CHANGES}::test_a_transition_changes_what_it_names_and_nothing_else",),
    ),
    Own(
        "a reservation is not recorded",
        _CHANGES,
        'stock={p: -n for p, n in units.items()}, extra_fields={"reserved": units})',
        "stock={p: -n for p, n in units.items()})",
        (f"{_T_CHANGES}::test_a_transition_changes_what_it_names_and_nothing_else",),
    ),
)

_ORDER_OF_STEPS = (
    Own(
        "messages are deleted before their orders are worked on",
        _CONSUMING,
        "        outcomes, orders = self._outcomes(batch, deadline)\n",
        "        self._delete([read.message for read in batch])\n"
        "        outcomes, orders = self._outcomes(batch, deadline)\n",
        (f"{_T_CONSUMING}::test_what_succeeded_is_deleted_before_the_consumer_raises",),
    ),
    Own(
        "messages that will be retried are deleted with the others",
        _CONSUMING,
        "self._delete([message for message in messages if message.message_id in acknowledged])",
        "self._delete(messages)",
        (f"{_T_CONSUMING}::test_what_succeeded_is_deleted_before_the_consumer_raises",),
    ),
    Own(
        "what succeeded is not deleted, and is received again for ever",
        _CONSUMING,
        "            self._delete([message for message in messages if message.message_id in acknowledged])\n",
        "",
        (f"{_T_CONSUMING}::test_what_succeeded_is_deleted_before_the_consumer_raises",),
    ),
    Own(
        "a message is acknowledged though it could not be kept",
        _CONSUMING,
        "        except Unavailable:\n            return None\n",
        "        except Unavailable:\n            return True\n",
        (f"{_T_CONSUMING}::test_a_dead_letter_that_cannot_be_kept_is_not_lost",),
    ),
    Own(
        "a message is acknowledged before its last receive though its order is not done",
        _CONSUMING,
        "if isinstance(outcomes[m.message_id], Done)}",
        "if isinstance(outcomes[m.message_id], Done | Retry)}",
        (f"{_T_CONSUMING}::test_a_message_that_may_succeed_later_comes_again",),
    ),
    Own(
        "a dead letter is deleted before it is sent again",
        _DEAD_LETTERS,
        "        try:\n"
        "            self.order_queue.send(letter.body, letter.replayed_by(in_flight.run))\n"
        "        except Rejected as fault:\n"
        "            if fault.code not in _REFUSED_AS_SUCH:\n"
        "                raise\n"
        '            telemetry.warning("message not replayed", **ids, fault=str(fault))\n'
        "            return False\n"
        "        in_flight.remove([letter])\n",
        "        in_flight.remove([letter])\n"
        "        try:\n"
        "            self.order_queue.send(letter.body, letter.replayed_by(in_flight.run))\n"
        "        except Rejected as fault:\n"
        "            if fault.code not in _REFUSED_AS_SUCH:\n"
        "                raise\n"
        '            telemetry.warning("message not replayed", **ids, fault=str(fault))\n'
        "            return False\n",
        (f"{_T_DEAD_LETTERS}::test_a_crash_while_replaying_leaves_a_duplicate_at_most_and_never_a_loss",),
    ),
    Own(
        "dead letters are deleted before their orders have entries",
        _DEAD_LETTERS,
        _PURGED + "        in_flight.remove(purged)\n",
        "        in_flight.remove(letters)\n" + _PURGED,
        (
            f"{_T_EXPORT}::test_a_purge_loses_no_event_since_recovery_gets_the_order",
            f"{_T_EXPORT}::test_a_letter_whose_order_cannot_be_handed_over_is_not_purged",
        ),
    ),
    Own(
        "a dead letter is deleted though its order could not be left to recovery",
        _DEAD_LETTERS,
        "        return isinstance(result, Applied)",
        "        return True",
        (
            f"{_T_EXPORT}::test_a_purge_loses_no_event_since_recovery_gets_the_order",
            f"{_T_EXPORT}::test_a_letter_whose_order_cannot_be_handed_over_is_not_purged",
        ),
    ),
    Own(
        "an overdue order is sent before it is backed off",
        _RECOVERY,
        "        for change, result in zip(changes, self.committer.commit_each(changes, deadline), strict=True):",
        "        self.queue.enqueue([change.order for change in changes])\n"
        "        for change, result in zip(changes, self.committer.commit_each(changes, deadline), strict=True):",
        (f"{_T_RECOVERY}::test_of_two_recovers_at_once_one_sends",),
    ),
    Own(
        "an overdue order is sent though another run has just backed it off",
        _RECOVERY,
        "            if isinstance(result, Applied):\n                due.append(result.order)",
        "            due.append(change.order)\n            if isinstance(result, Applied):\n                pass",
        (f"{_T_RECOVERY}::test_of_two_recovers_at_once_one_sends",),
    ),
    Own(
        "an alert is remembered before it is sent",
        _MONITORING,
        "            self.alerts.send(subject, self._text(count), account)\n"
        "            # After the notification: two notifications are better than none.\n"
        "            self.last_alert.set(LastAlert(count, self.clock()))\n",
        "            self.last_alert.set(LastAlert(count, self.clock()))\n"
        "            self.alerts.send(subject, self._text(count), account)\n",
        (f"{_T_MONITORING}::test_a_fault_is_raised_and_may_cause_a_second_notification_but_never_none",),
    ),
    Own(
        "the outbox entry is removed before the events are published",
        _COMPLETION,
        "        # Published whatever became of the refunds: an event must not wait for a payment provider.\n",
        "        self.committer.commit_each([u for i in items if (u := self._outbox_update(i, None))], deadline)\n",
        (f"{_T_COMPLETION}::test_what_an_operation_leaves_to_do_is_done_by_the_mark_alone",),
    ),
    Own(
        "the outbox entry is removed before the money is given back",
        _COMPLETION,
        "        if all_in_time(owing, deadline):\n",
        "        self.committer.commit_each([u for i in items if (u := self._outbox_update(i, None))], deadline)\n"
        "        if all_in_time(owing, deadline):\n",
        (f"{_T_COMPLETION}::test_an_event_does_not_wait_for_the_refund",),
    ),
    Own(
        "the message is sent before the order is stored",
        _PLACING,
        "        (result,) = self.committer.commit_each([create(order, self.clock())])\n",
        "        self.queue.try_enqueue(order)\n"
        "        (result,) = self.committer.commit_each([create(order, self.clock())])\n",
        (f"{_T_PLACING}::test_placing_takes_no_more_calls_than_it_must",),
    ),
    Own(
        "an order is charged before its stock is taken",
        _FULFILMENT,
        "        self.reserve(items, deadline)\n",
        "        self.payments.charge([item.order for item in items])\n        self.reserve(items, deadline)\n",
        (f"{_T_FULFILMENT}::test_an_order_out_of_stock_fails_with_the_reason_takes_nothing_and_is_never_charged",),
    ),
)

_ENTRIES = (
    Own(
        "a new order has no outbox entry",
        _CHANGES,
        "return Create(replace(order, outbox=_new_entry(at)))",
        "return Create(order)",
        (f"{_T_CHANGES}::test_a_new_order_is_marked_so_that_recover_finds_it",),
    ),
    Own(
        "a cancelled order has no outbox entry",
        _CHANGES,
        'return _move("cancel", order, at, reason, outbox=_new_entry(at), stock=stock, extra_fields=refund, by=by)',
        'return _move("cancel", order, at, reason, outbox=None, stock=stock, extra_fields=refund, by=by)',
        (f"{_T_CHANGES}::test_a_transition_changes_what_it_names_and_nothing_else",),
    ),
    Own(
        "a cancelled order keeps its old outbox entry",
        _CHANGES,
        'return _move("cancel", order, at, reason, outbox=_new_entry(at), stock=stock, extra_fields=refund, by=by)',
        'return _move("cancel", order, at, reason, stock=stock, extra_fields=refund, by=by)',
        (f"{_T_CHANGES}::test_a_transition_changes_what_it_names_and_nothing_else",),
    ),
    Own(
        "a shipped order has no outbox entry",
        _CHANGES,
        'return _move("ship", order, at, outbox=_new_entry(at), extra_fields=details, by=by)',
        'return _move("ship", order, at, outbox=None, extra_fields=details, by=by)',
        (f"{_T_CHANGES}::test_a_transition_changes_what_it_names_and_nothing_else",),
    ),
    Own(
        "a delivered order has no outbox entry",
        _CHANGES,
        'return _move("deliver", order, at, outbox=_new_entry(at), by=by)',
        'return _move("deliver", order, at, outbox=None, by=by)',
        (f"{_T_CHANGES}::test_a_transition_changes_what_it_names_and_nothing_else",),
    ),
    Own(
        "reserving removes the outbox entry",
        _CHANGES,
        'return _move("reserve", order, at, stock=',
        'return _move("reserve", order, at, outbox=None, stock=',
        (f"{_T_CHANGES}::test_a_transition_changes_what_it_names_and_nothing_else",),
    ),
    Own(
        "on the last receive the events that are owed have no outbox entry",
        _FULFILMENT,
        "return changes.with_entry(change, self.clock()) if item.delivery.last else change",
        "return change",
        (
            f"{_T_FULFILMENT}::test_an_end_that_is_reached_on_the_last_receive_keeps_its_entry_until_its_event_is_published",
        ),
    ),
    Own(
        "a refund or an event that failed has no outbox entry",
        _COMPLETION,
        "            return changes.work_left(order, self.clock())",
        "            return None",
        (f"{_T_COMPLETION}::test_a_failed_entry_brings_its_message_again_and_leaves_an_entry",),
    ),
    Own(
        "a pending refund removes the outbox entry",
        _COMPLETION,
        "        if refund is Refund.PENDING:\n            return refund_pending(order, self.clock())\n",
        "",
        (f"{_T_PENDING}::test_a_refund_that_is_pending_is_asked_about_again_by_recovery_until_it_is_done",),
    ),
    Own(
        "a pending refund counts as nothing else that is left, though its event failed",
        _COMPLETION,
        "        if item.outcome is not None:\n            return changes.work_left(order, self.clock())\n",
        "        if item.outcome is not None and refund is not Refund.PENDING:\n"
        "            return changes.work_left(order, self.clock())\n",
        (_ANY_ANSWERS,),
    ),
    Own(
        "a pending refund is overdue",
        _PENDING,
        "OutboxEntry(at + delay, refund_pending=True)",
        "OutboxEntry(at + delay)",
        (_ANY_ANSWERS,),
    ),
    Own(
        "a pending refund takes the place of the entry that somebody has set meanwhile",
        _PENDING,
        "    seen = order.outbox.due_at if order.outbox else None",
        "    seen = None",
        (f"{_T_PENDING}::test_what_is_heard_late_of_a_refund_changes_nothing",),
    ),
    Own(
        "a refund stays pending, whatever comes in its way",
        _CHANGES,
        "    if order.outbox and not order.outbox.refund_pending:\n",
        "    if order.outbox:\n",
        (_ANY_ANSWERS,),
    ),
    Own(
        "a refund stays pending while recovery retries it in vain",
        _CHANGES,
        "OutboxEntry(now + delay, entry.retries + 1, entry.fault))",
        "OutboxEntry(now + delay, entry.retries + 1, entry.fault, entry.refund_pending))",
        (_ANY_ANSWERS,),
    ),
    Own(
        "nobody hears of a refund that takes months",
        _PENDING,
        "    if passed > MAX_REFUND_TIME:\n        return work_left(order, at)\n",
        "",
        (f"{_T_PENDING}::test_a_pending_refund_is_overdue_once_it_takes_longer_than_thirty_days",),
    ),
    Own(
        "nobody hears of a pending refund that cannot be retried",
        _REPOSITORY,
        '[item["outboxDueAt"]["S"] < hour_ago for',
        "[False for",
        (f"{_T_PENDING}::test_a_pending_refund_that_recovery_cannot_retry_is_overdue",),
    ),
    Own(
        "a pending refund is never asked about again",
        _REPOSITORY,
        "for first in (0, LATE_SHARD, REFUND_SHARD):",
        "for first in (0, LATE_SHARD):",
        (f"{_T_PENDING}::test_a_refund_that_is_pending_is_asked_about_again_by_recovery_until_it_is_done",),
    ),
    Own(
        "an event that failed removes the outbox entry",
        _COMPLETION,
        "        if item.outcome is not None:\n            return changes.work_left(order, self.clock())\n",
        "",
        (f"{_T_COMPLETION}::test_an_entry_that_exists_is_not_set_again_when_an_event_fails",),
    ),
    Own(
        "a message that is left to recovery leaves no outbox entry",
        _CONSUMING,
        "        (result,) = self.committer.commit_each([entry])\n"
        "        if isinstance(result, Retryable):\n"
        "            return None\n"
        "        if not isinstance(result, Applied) or not _same(result.order, order):\n"
        "            return False\n",
        "",
        (f"{_T_CONSUMING}::test_on_its_last_receive_an_order_is_left_to_recovery_and_no_person_is_needed",),
    ),
    Own(
        "a message is left to recovery though the order with its id is another one",
        _CONSUMING,
        "if not isinstance(result, Applied) or not _same(result.order, order):",
        "if not isinstance(result, Applied):",
        (f"{_T_CONSUMING}::test_on_its_last_receive_an_order_that_is_not_the_messages_is_not_left_to_recovery",),
    ),
    Own(
        "a purged letter leaves no outbox entry",
        _DEAD_LETTERS,
        "        (result,) = self.committer.commit_each([ensure_entry(order, self.clock())])\n"
        "        return isinstance(result, Applied)",
        "        return True",
        (
            f"{_T_EXPORT}::test_a_purge_loses_no_event_since_recovery_gets_the_order",
            f"{_T_EXPORT}::test_a_letter_whose_order_cannot_be_handed_over_is_not_purged",
        ),
    ),
    Own(
        "backing off forgets how often an order was retried",
        _CHANGES,
        "OutboxEntry(now + delay, entry.retries + 1, entry.fault)",
        "OutboxEntry(now + delay, 0, entry.fault)",
        (f"{_T_CHANGES}::test_recover_backs_off_doubling_up_to_six_hours_on_condition_of_the_one_it_saw",),
    ),
)

_ANSWERS = (
    Own(
        "any order under the same key is a replay",
        _PLACING,
        "        return idempotency.agrees(existing.fingerprint, request)",
        "        return True",
        (f"{_T_PLACING}::test_a_key_reused_for_another_order_is_refused_whatever_state_the_order_is_in",),
    ),
    Own(
        "another order with the same id is worked on",
        _SAGA,
        "            same = agrees(order.fingerprint, self.delivery.order)",
        "            same = True",
        (f"{_T_CONSUMING}::test_the_same_order_id_with_other_content_is_a_dead_letter_and_moves_nothing",),
    ),
    Own(
        "an order is charged once for each delivery",
        _PAYING,
        "key, amount, method = order.payment_key, order.total_amount, order.payment_method",
        'key, amount, method = f"{order.payment_key}{time.monotonic()}", order.total_amount, order.payment_method',
        (f"{_T_KEYS}::test_an_order_that_a_restored_table_has_lost_is_created_again_on_the_same_payment",),
    ),
    Own(
        "a payment without an answer is a decline",
        _PAYING,
        '        return Unknown("the payment provider did not answer in time")',
        '        return Declined("the payment provider did not answer in time")',
        (f"{_T_PAYING}::test_what_is_not_answered_in_time_is_unknown_and_the_others_are_not",),
    ),
    Own(
        "an order that is given up is not refunded",
        _COMPLETION,
        "        owing = [item for item in items if _owes_refund(item.order)]",
        "        owing: list[SagaItem] = []",
        (
            f"{_T_KEYS}::test_a_declined_order_is_closed_so_that_a_late_confirmation_cannot_charge_it",
            f"{_T_PENDING}::test_a_refund_that_is_pending_is_asked_about_again_by_recovery_until_it_is_done",
        ),
    ),
    Own(
        "an order that a restored table has lost gets another payment",
        _FULFILMENT,
        "                return changes.create(replace(order, items=lines), now)",
        "                from chalicelib.domain.payment_key import fresh_payment_key\n\n"
        "                key = fresh_payment_key(order.order_id)\n"
        "                return changes.create(replace(order, items=lines, payment_key=key), now)",
        (f"{_T_KEYS}::test_an_order_that_a_restored_table_has_lost_is_created_again_on_the_same_payment",),
    ),
)

_METHODS = (
    Own(
        "the payment method is part of the fingerprint",
        _REQUEST,
        "order.total_amount, order.currency, order.shipping_address)",
        'order.total_amount, f"{order.currency}{order.payment_method}", order.shipping_address)',
        (f"{_T_METHOD}::test_the_same_order_with_another_method_is_a_replay_and_the_first_one_is_charged",),
    ),
    Own(
        "the payment method of an order that has ended is kept",
        _CHANGES,
        '{**fields.get("extra_fields", {}), "payment_method": None}',
        'fields.get("extra_fields", {})',
        (f"{_T_METHOD}::test_it_is_gone_with_the_write_that_ends_the_order",),
    ),
    Own(
        "the payment method of an order that has ended is kept if its message did not have it",
        _CHANGES,
        "    if target is not Status.RESERVED:\n",
        "    if target is not Status.RESERVED and order.payment_method:\n",
        (f"{_T_METHOD}::test_it_is_gone_with_the_write_that_ends_the_order",),
    ),
    Own(
        "the payment method is dropped before the charge",
        _CHANGES,
        "    if target is not Status.RESERVED:\n",
        "    if target:\n",
        (f"{_T_METHOD}::test_it_stays_until_the_charge_is_decided_whoever_asks_again",),
    ),
    Own(
        "an order that the catalogue refuses keeps its payment method",
        _CHANGES,
        "failure_reason=failure, payment_method=None))",
        "failure_reason=failure))",
        (f"{_T_METHOD}::test_it_is_gone_with_the_write_that_ends_the_order",),
    ),
    Own(
        "an answer shows the payment method",
        "chalicelib/entrypoints/documents.py",
        "    document = fields.write(order, In.ANSWER)\n",
        '    document = fields.write(order, In.ANSWER) | {"paymentMethod": order.payment_method}\n',
        (f"{_T_METHOD}::test_no_answer_and_no_event_has_it",),
    ),
    Own(
        "a message has another payment method than its order",
        "chalicelib/adapters/queues.py",
        "    return exact_json.dumps(fields.write(order, In.MESSAGE))",
        '    return exact_json.dumps(fields.write(order, In.MESSAGE) | {"paymentMethod": "pm_other"})',
        (f"{_T_METHOD}::test_an_order_that_was_lost_is_created_again_with_the_method_of_its_message",),
    ),
    Own(
        "the provider does not hear of the payment method",
        _PAYING,
        "method=method, customer_id=order.customer_id",
        "method=None, customer_id=order.customer_id",
        (f"{_T_PAYING}::test_each_order_has_its_own_payment_and_answers_are_in_the_order_of_the_orders",),
    ),
    Own(
        "a card number is taken for a payment method",
        "chalicelib/domain/payment_method.py",
        "    return not any(_has_check_digit",
        "    return bool(text) or any(_has_check_digit",
        (f"{_T_METHOD}::test_a_card_number_is_refused_and_stored_nowhere_from_a_client",),
    ),
)

_CALLERS = (
    Own(
        "a customer may act for every customer",
        "chalicelib/domain/caller.py",
        "return not self.is_customer or self.customer_id == customer_id",
        "return True",
        (
            f"{_T_ROLES}::test_each_cell_of_the_table",
            f"{_T_ROLES}::test_a_key_or_a_cursor_leads_to_nobody_elses_orders",
        ),
    ),
    Own(
        "an order of somebody else is shown",
        "chalicelib/entrypoints/api.py",
        "if order is None or not caller.may_act_for(order.customer_id):",
        "if order is None:",
        (f"{_T_ROLES}::test_an_order_of_somebody_else_is_answered_like_one_that_does_not_exist",),
    ),
    Own(
        "an order of somebody else can be cancelled",
        "chalicelib/use_cases/operations.py",
        "while order is not None and caller.may_act_for(order.customer_id):",
        "while order is not None:",
        (f"{_T_ROLES}::test_an_order_of_somebody_else_is_answered_like_one_that_does_not_exist",),
    ),
    Own(
        "a customer may order for somebody else",
        _IDENTITY,
        "if any(customer_id != caller.customer_id for customer_id in named):",
        "if False:",
        (f"{_T_ROLES}::test_naming_somebody_else_is_refused_without_a_lookup_and_leaves_the_key_free",),
    ),
    Own(
        "a customer may ship an order",
        _IDENTITY,
        "if found.is_customer:",
        "if False:",
        (f"{_T_ROLES}::test_each_cell_of_the_table",),
    ),
    Own(
        "an ID token is taken for an access token",
        _IDENTITY,
        'if sub is None or claims.get("token_use") != "access":',
        "if sub is None:",
        (f"{_T_IDENTITY}::test_every_other_token_is_refused",),
    ),
    Own(
        "the tokens of every app client are accepted",
        _IDENTITY,
        'if _text(claims, "client_id") not in settings.user_pool_clients:',
        "if False:",
        (f"{_T_IDENTITY}::test_every_other_token_is_refused",),
    ),
    Own(
        "a part of the name of a group is enough",
        _IDENTITY,
        'if OPERATORS in groups(claims.get("cognito:groups")):',
        'if OPERATORS in str(claims.get("cognito:groups")):',
        (f"{_T_IDENTITY}::test_nobody_else_is",),
    ),
    Own(
        "a user with the scope of services is a service",
        _IDENTITY,
        'if sub == _text(claims, "client_id"):  # no user: the app client itself',
        "if SERVICE_SCOPE in str(claims.get('scope')):",
        (f"{_T_IDENTITY}::test_a_scope_of_services_makes_no_user_a_service",),
    ),
    Own(
        "a user whose token lacks the username is a service",
        _IDENTITY,
        'if sub == _text(claims, "client_id"):  # no user: the app client itself',
        'if _text(claims, "username") is None:',
        (f"{_T_IDENTITY}::test_no_user_is_a_service_whatever_is_missing_in_the_token",),
    ),
    Own(
        "a key that a producer's order has taken shows that order",
        "chalicelib/entrypoints/api.py",
        "if order and order.customer_id != customer_id:",
        "if False:",
        (f"{_T_ROLES}::test_a_key_names_nobody_elses_order_though_a_producer_chose_its_id",),
    ),
    Own(
        "an unsigned request is served where the gateway has no authorizer",
        _IDENTITY,
        "if arn is None:",
        "if False:",
        (f"{_T_IDENTITY}::test_a_request_about_which_the_gateway_says_nothing_is_refused",),
    ),
    Own(
        "a customer is shown who did it",
        "chalicelib/entrypoints/documents.py",
        "if not shows_names:",
        "if False:",
        (f"{_T_ROLES}::test_the_history_says_who_did_it_to_operators_and_services_only",),
    ),
)

_STRIPES = (
    Own(
        "a payment is declined before its intent is cancelled",
        _STRIPE,
        '        return self._outcome(row, self.api.end(row["paymentId"]), reason)',
        "        return Declined(reason)",
        (_EVERY_ORDER,),
    ),
    Own(
        "whatever the cancel of an intent answers, the payment is declined",
        _STRIPE,
        '        if self._ended(row, status) == "succeeded":\n            return Charged(row["paymentId"])\n',
        "",
        (f"{_T_STRIPE}::test_the_answer_of_the_cancel_decides_a_decline",),
    ),
    Own(
        "each call confirms the intent that it has made",
        _STRIPE,
        "                self.api.end(intent)\n        return row",
        '                self.api.end(intent)\n        return row | {"paymentId": intent}',
        (_EVERY_ORDER,),
    ),
    Own(
        "the intent of whoever comes second is left open",
        _STRIPE,
        '        if row.get("paymentId") != intent:',
        "        if False:",
        (_EVERY_ORDER,),
    ),
    Own(
        "an intent is paid before it is in the ledger",
        _STRIPE,
        "        intent = self.api.create(payment_key, amount, currency, stripe_customer)",
        "        intent = self.api.create(payment_key, amount, currency, stripe_customer)\n"
        '        self.api.confirm(intent, "pm_card_visa")',
        (f"{_T_STRIPE}::test_a_charge_makes_an_intent_without_a_method_then_the_row_and_then_pays",),
    ),
    Own(
        "a payment that is being refunded is still charged",
        _STRIPE,
        "self.ledger.change(payment_key, _OPEN, _REFUNDING if taken else CLOSED, _IS_CLOSED)",
        "taken or self.ledger.change(payment_key, _OPEN, CLOSED, _IS_CLOSED)",
        (f"{_T_STRIPE}::test_a_refund_may_be_pending_and_a_failed_one_is_made_again",),
    ),
    Own(
        "a refund that is pending is made again",
        _STRIPE,
        "        if cents(refunds, *GIVEN_BACK) < owed:\n            try:",
        '        if cents(refunds, "succeeded") < owed:\n            try:',
        (f"{_T_STRIPE}::test_a_refund_may_be_pending_and_a_failed_one_is_made_again",),
    ),
    Own(
        "a refund that has failed counts as under way",
        _STRIPE,
        "        if cents(refunds, *GIVEN_BACK) < owed:\n            try:",
        '        if cents(refunds, "succeeded", "pending", "failed") < owed:\n            try:',
        (f"{_T_STRIPE}::test_a_refund_may_be_pending_and_a_failed_one_is_made_again",),
    ),
    Own(
        "a pending refund is done",
        _STRIPE,
        '        return Refunded(intent) if cents(refunds, "succeeded") >= owed else RefundPending()',
        "        return Refunded(intent)",
        (f"{_T_STRIPE}::test_a_refund_may_be_pending_and_a_failed_one_is_made_again",),
    ),
    Own(
        "a saved payment method pays for whoever names it",
        _STRIPE,
        "        if saver and (customer_id is None or saver.customer_id != customer_id):",
        "        if False:",
        (f"{_T_STRIPE}::test_a_saved_method_pays_for_the_customer_only_whom_it_is_saved_for",),
    ),
    Own(
        "a saved payment method without an owner is everybody's",
        _STRIPE,
        "        if saver and (customer_id is None or saver.customer_id != customer_id):",
        "        if saver and saver.customer_id not in (None, customer_id):",
        (f"{_T_STRIPE}::test_a_saved_method_pays_for_the_customer_only_whom_it_is_saved_for",),
    ),
    Own(
        "another amount is charged under the same key",
        _STRIPE,
        '    if (row["amount"], row["currency"]) != (amount, currency):',
        "    if False:",
        (f"{_T_STRIPE}::test_another_amount_is_unknown_whatever_the_card_and_leaves_the_payment_as_it_is",),
    ),
    Own(
        "a payment in processing is declined",
        _STRIPE,
        '    def _ended(self, row: Row, status: str) -> str:\n        if status not in ("succeeded", "canceled"):',
        "    def _ended(self, row: Row, status: str) -> str:\n        if False:",
        (f"{_T_STRIPE}::test_a_payment_in_processing_is_unknown_until_it_has_ended",),
    ),
    Own(
        "an idempotency key is the payment's, so Stripe repeats a 500 for a day",
        _STRIPE_API,
        "self._client.v1.payment_intents.create(params)",
        'self._client.v1.payment_intents.create(params, {"idempotency_key": payment_key})',
        (f"{_T_STRIPE}::test_each_post_has_an_idempotency_key_that_no_other_has_and_the_pinned_version",),
    ),
    Own(
        "Stripe's library repeats requests by itself",
        _STRIPE_API,
        "            max_network_retries=0,",
        "            max_network_retries=2,",
        (f"{_T_STRIPE}::test_each_post_has_an_idempotency_key_that_no_other_has_and_the_pinned_version",),
    ),
    Own(
        "a payment method that is of no use makes an order without an end",
        _STRIPE_API,
        "            if error.http_status not in (400, 402, 404):",
        "            if error.http_status != 402:",
        (f"{_T_STRIPE}::test_a_method_that_cannot_be_used_is_declined_with_nothing_left_open",),
    ),
    Own(
        "a rate limit declines the payment",
        _STRIPE_API,
        "            if error.http_status not in (400, 402, 404):",
        "            if error.http_status not in (400, 402, 404, 409, 429):",
        (f"{_T_STRIPE}::test_what_may_pass_is_unknown_and_charged_later",),
    ),
    Own(
        "Stripe's library logs payment methods",
        _STRIPE_API,
        '        logging.getLogger("stripe").setLevel(logging.WARNING)\n',
        "",
        (f"{_T_STRIPE}::test_no_log_names_the_payment_method",),
    ),
    Own(
        "a second row takes the place of the first",
        _LEDGER,
        '                    ConditionExpression="attribute_not_exists(paymentKey)",\n',
        "",
        (f"{_T_STRIPE}::test_a_refund_may_be_pending_and_a_failed_one_is_made_again",),
    ),
    Own(
        "what a payment's row says last is what it says",
        _LEDGER,
        '                    ConditionExpression="#state = :state",\n',
        "",
        (f"{_T_STRIPE}::test_a_row_is_changed_only_while_it_is_as_it_was_seen",),
    ),
    Own(
        "a provider answers for another one's payments",
        _LEDGER,
        '        if provider != self.provider and row["state"] not in (CLOSED, DECLINED):',
        "        if False:",
        (f"{_T_STRIPE}::test_a_payment_of_another_account_or_another_provider_is_unknown",),
    ),
)

_STEP_FUNCTIONS = (
    Own(
        "a message is done though it alone owes its order's event",
        _STARTING,
        "            self.fulfilment.complete([item for item in going_on if not item.order.outbox], deadline)\n",
        "",
        (f"{_T_STARTING}::test_an_order_without_an_entry_is_completed_by_its_message_and_starts_nothing",),
    ),
    Own(
        "an execution is started for an order without an entry, and nobody starts it again",
        _STARTING,
        "            self._start([item for item in going_on if item.order.outbox], deadline)\n",
        "            self._start(going_on, deadline)\n",
        (
            f"{_T_STARTING}::test_a_producers_order_that_the_catalogue_refuses_fails_with_its_event_and_without_an_execution",
        ),
    ),
    Own(
        "an order on its way without an entry waits for the last receive of its message",
        _STARTING,
        "            self._give_entries([item for item in on_their_way if not item.order.outbox], deadline)\n",
        "",
        (f"{_T_STARTING}::test_an_order_on_its_way_without_an_entry_is_given_one_and_started",),
    ),
    Own(
        "an order that the table has lost is started, and not created again",
        _STARTING,
        "self.fulfilment.create([*producers, *gone], deadline)",
        "self.fulfilment.create(producers, deadline)",
        (f"{_T_STARTING}::test_an_order_that_a_restored_table_has_lost_is_created_again_with_the_key_of_its_message",),
    ),
    Own(
        "no later message starts an execution",
        _STARTING,
        'f"{_as_uuid(payment)}_{_as_uuid(message)}"',
        "_as_uuid(payment)",
        (f"{_T_STARTING}::test_a_message_of_recover_of_cancel_and_of_a_replay_always_starts_one",),
    ),
    Own(
        "a redelivery starts an execution",
        _STARTING,
        "_{_as_uuid(message)}",
        "_{uuid.uuid4()}",
        (f"{_T_STARTING}::test_a_redelivery_starts_nothing_while_the_execution_runs_and_once_it_has_ended",),
    ),
    Own(
        "a message is done though its execution could not be started",
        _STARTING,
        "                item.outcome = Retry(reason)\n",
        "                item.outcome = Done()\n",
        (f"{_T_STARTING}::test_a_throttled_start_is_tried_again",),
    ),
    Own(
        "of several messages the first one names the execution",
        _SAGA,
        "max(messages, key=lambda message: message.sent_at)",
        "min(messages, key=lambda message: message.sent_at)",
        (f"{_T_STARTING}::test_of_several_messages_about_an_order_the_one_sent_last_names_the_execution",),
    ),
    Own(
        "a start that was made before counts as failed",
        _EXECUTIONS,
        '            if fault.code != "ExecutionAlreadyExists":\n                raise\n',
        "            raise\n",
        (f"{_T_EXECUTIONS}::test_one_that_was_started_before_is_as_good",),
    ),
    Own(
        "a step removes the entry before the last one is done",
        _STEPPING,
        "last=True,",
        "last=False,",
        (f"{_T_STEPPING}::test_an_order_goes_step_by_step_and_has_an_entry_until_the_last_one_is_done",),
    ),
    Own(
        "a step creates an order again that is gone",
        _STEPPING,
        "last=True, outdated=True",
        "last=True, outdated=False",
        (f"{_T_STEPPING}::test_an_order_that_goes_while_its_stock_is_taken_is_not_created_again",),
    ),
    Own(
        "an earlier order's execution works on a later one with its id",
        _STEPPING,
        "        if order.payment_key != payment_key:",
        "        if False:",
        (f"{_T_STEPPING}::test_an_earlier_orders_execution_does_nothing_to_a_later_one_with_its_id",),
    ),
    Own(
        "the history of an execution shows the text of an unexpected fault",
        _STEPPING,
        'raise TryAgain(f"an unexpected fault: {type(fault).__name__}") from None',
        "raise TryAgain(str(fault)) from None",
        (f"{_T_STEPPING}::test_a_history_shows_ids_and_outcomes_and_nothing_else",),
    ),
    Own(
        "an order is completed before it has come so far",
        _FULFILMENT,
        '            item.outcome = Retry(f"still {item.order.status}")\n',
        "            pass\n",
        (f"{_T_STEPPING}::test_an_order_that_has_not_come_so_far_is_not_completed",),
    ),
)

_PROVIDERS = (
    Own(
        "a payment of another provider is asked of the stage's own again",
        _ROUTER,
        "            return call(self.by_name(elsewhere.provider))",
        "            return call(self.provider)",
        (f"{_T_ROUTER}::test_an_order_under_way_while_the_provider_is_switched_is_charged_once_and_refunded_there",),
    ),
    Own(
        "a key that was refused is not read again",
        _ACCOUNT,
        "                self._is_due = True\n",
        "                self._is_due = False\n",
        (f"{_T_ACCOUNT}::test_a_key_that_stripe_refuses_is_read_again_and_one_that_stays_bad_now_and_then_only",),
    ),
    Own(
        "a bad key is read again for each payment",
        _ACCOUNT,
        "now - self._read_at >= PAUSE",
        "now >= self._read_at",
        (f"{_T_ACCOUNT}::test_a_key_that_stripe_refuses_is_read_again_and_one_that_stays_bad_now_and_then_only",),
    ),
    Own(
        "what is there is logged",
        _ACCOUNT,
        'return "what is there is not a secret key of Stripe"',
        'return f"{key} is not a secret key of Stripe"',
        (f"{_T_ACCOUNT}::test_while_the_key_is_bad_orders_wait_and_once_it_is_right_they_go_on",),
    ),
    Own(
        "an order that was taken in before is refused for what the new provider asks",
        _FULFILMENT,
        "is_new=item.delivery.payment_key is None",
        "is_new=True",
        (f"{_T_INTAKE}::test_an_order_that_was_under_way_when_the_provider_was_switched_is_decided_by_its_payment",),
    ),
    Own(
        "an order that cannot be paid for is taken in",
        _INTAKE,
        "if is_new else []",
        "if not is_new else []",
        (f"{_T_INTAKE}::test_an_order_is_taken_in_if_neither_the_catalogue_nor_the_provider_is_against_it",),
    ),
    Own(
        "a batch waits for its payments until it has no time to write",
        _PAYING,
        "wait, began = deadline.patience(self.patience), self.clock()",
        "wait, began = self.patience, self.clock()",
        (f"{_T_PAYING}::test_a_batch_waits_no_longer_than_its_patience_and_leaves_the_time_to_write_what_came_of_it",),
    ),
    Own(
        "a payment begins when nobody waits for it any more",
        _PAYING,
        "        if self.clock() > latest:\n",
        "        if False:\n",
        (f"{_T_PAYING}::test_a_batch_waits_no_longer_than_its_patience_and_leaves_the_time_to_write_what_came_of_it",),
    ),
)

OWN = (
    *_CONDITIONS,
    *_TRANSACTIONS,
    *_ORDER_OF_STEPS,
    *_ENTRIES,
    *_ANSWERS,
    *_METHODS,
    *_CALLERS,
    *_STRIPES,
    *_STEP_FUNCTIONS,
    *_PROVIDERS,
)
