"""The schedules of `benchmarks.reliability`: what happens, what goes wrong at which call, and how the world goes on."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from benchmarks.designs import Answer, Request, Running
from tests.support.aws_calls import Killed
from tests.support.tables import stock_up
from tests.support.world import Life, World

FAULTS = ("dropped", "lost", "throttled", "failed", "conflict", "killed before", "killed after")
"""No effect; the answer lost; ThrottlingException; a 500; a conflict; the process dies before or after the call."""

WRITES = ("put_item", "update_item", "transact_write_items")
"""What can meet a conflict."""

TRIES, RETRY_AFTER_SECONDS = 20, 15
"""A client that was not answered 2xx sends its request again: so often, so much later."""

STOCK = 100


@dataclass
class Run:
    """One schedule, on a customer and products of its own. `answers` are the 2xx to each request."""

    shop: "Shop"
    number: int
    gives_up: bool = False
    requests: list[Request] = field(default_factory=list)
    answers: dict[Request, list[str]] = field(default_factory=dict)

    @property
    def customer(self) -> str:
        return f"c{self.number}"

    def request(self, product: str = "p", keyed: bool = True) -> Request:
        """A request for a product of this schedule's own; "rare" is out of stock."""
        made = Request(self.customer, f"k{self.number}-{product}" if keyed else None, f"{product}{self.number}")
        self.requests.append(made)
        stock_up(self.shop.stage, **{made.product: 0 if product == "rare" else STOCK})
        return made

    def send(self, process: Running, request: Request) -> bool:
        """Whether it was answered 2xx."""
        answers = self.answers.setdefault(request, [])
        try:
            answer = process.place(request)
        except Exception:  # noqa: BLE001 - whatever ends the function, to the client it is a 502
            answer = Answer(502)
        if answer.status // 100 == 2:
            answers.append(answer.body)
        return answer.status // 100 == 2

    def insist(self, request: Request) -> None:
        """The client sends until it is answered 2xx."""
        for _ in range(TRIES):
            if self.send(self.shop.healthy, request):
                return
            self.shop.world.clock.advance(seconds=RETRY_AFTER_SECONDS)

    def place(self, process: Running) -> None:
        self.send(process, self.requests[0])

    def fulfil(self, process: Running) -> None:
        self.shop.deliver(process)

    def fulfil_one(self, process: Running) -> None:
        self.shop.deliver(process, limit=1)


Act = Callable[[Run, Running], object]


@dataclass(frozen=True)
class Scenario:
    """`prepare` is done by a healthy process, then the fault strikes at a call of `act`.

    `meanwhile`: just before that call, another process does this too. `gives_up`: the client sends no more after that.
    """

    prepare: Callable[[Run], object]
    act: Act
    meanwhile: Act | None = None
    declines: bool = False
    gives_up: bool = False


def _ordered(*products: str) -> Callable[[Run], None]:
    def prepare(run: Run) -> None:
        for name in products:
            run.insist(run.request(name))

    return prepare


def _twice(run: Run) -> None:
    _ordered("p")(run)
    run.shop.duplicate()


SCENARIOS: dict[str, Scenario] = {
    "place with a key": Scenario(Run.request, Run.place),
    "place with a key, and the client gives up": Scenario(Run.request, Run.place, gives_up=True),
    "place without a key": Scenario(lambda run: run.request(keyed=False), Run.place),
    "a duplicate": Scenario(_ordered("p"), Run.place),
    "two equal requests at once": Scenario(Run.request, Run.place, meanwhile=Run.place),
    "fulfil one": Scenario(_ordered("p"), Run.fulfil),
    "fulfil a batch": Scenario(_ordered("p", "q", "rare"), Run.fulfil),
    "decline": Scenario(_ordered("p"), Run.fulfil, declines=True),
    "out of stock": Scenario(_ordered("rare"), Run.fulfil),
    "a message twice at once": Scenario(_twice, Run.fulfil_one, meanwhile=Run.fulfil_one),
}


class Shop:
    """A design in the world: two healthy processes, and one that faults strike."""

    def __init__(self, world: World, design: Callable[[World], Running]) -> None:
        self.world, self.stage, self.queue = world, world.stage, world.queue
        self.healthy, self.other, self.struck = design(world), design(world), design(world)

    def decline(self, percent: int) -> None:
        for process in (self.healthy, self.other, self.struck):
            process.provider.decline_percent = percent

    def deliver(self, process: Running, limit: int = 10) -> bool:
        """What Lambda does with the next batch: whether there was one."""
        name = self.stage["ORDER_QUEUE"]
        records = self.queue.receive(name, limit)
        if not records:
            return False
        deleted: Collection[str] = ()
        with suppress(Exception):  # the function fails: SQS delivers again what it did not delete
            deleted = process.consume(records)
        self._delete(name, [record["receiptHandle"] for record in records if record["messageId"] in deleted])
        return True

    def duplicate(self) -> None:
        """The last message sent comes twice."""
        self.queue.deliver_again(self.stage["ORDER_QUEUE"], self.queue.sent[-1])

    def run(self, scenario: Scenario, fault: str | None, number: int, call: int) -> tuple[Run, "Strike"]:
        """One schedule."""
        run = Run(self, number, scenario.gives_up)
        scenario.prepare(run)
        meanwhile = scenario.meanwhile
        strike = Strike(fault, call, lambda: meanwhile(run, self.other) if meanwhile else None)
        self.struck.life = strike.life
        with suppress(Killed):
            scenario.act(run, self.struck)
        self.struck.life = Life()
        for request in run.requests if not run.gives_up else ():
            run.insist(request)
        for _ in range(10):
            self.go_on(seconds=61)
            if not self.queue.waiting():
                break
        return run, strike

    def go_on(self, **passed: float) -> None:
        """Time passes, an operator redrives the dead letters, schedules and deliveries happen."""
        self.world.clock.advance(**passed)
        dead = self.stage["ORDER_DEAD_LETTERS"]
        letters = self.queue.receive_message(QueueUrl=dead, MaxNumberOfMessages=10, VisibilityTimeout=0)["Messages"]
        for letter in letters:
            self.queue.send_message(
                QueueUrl=self.stage["ORDER_QUEUE"],
                MessageBody=letter["Body"],
                MessageAttributes=letter["MessageAttributes"],
            )
        self._delete(dead, [letter["ReceiptHandle"] for letter in letters])
        self.healthy.run_schedules()
        while self.deliver(self.healthy):
            pass

    def _delete(self, queue: str, receipts: Sequence[str]) -> None:
        self.queue.delete_message_batch(QueueUrl=queue, Entries=[{"ReceiptHandle": receipt} for receipt in receipts])


class Strike:
    """A fault at call `number` of a life, just after `meanwhile` happened (None: only that happens)."""

    def __init__(self, fault: str | None, number: int, meanwhile: Callable[[], object]) -> None:
        self._fault, self._number = fault, number
        self._calls = count()
        self._spoilt = ""
        fatal = number if fault and fault.startswith("killed") else None
        at = {number: meanwhile}
        self.life = Life(dies_at=fatal, after=fault == "killed after", spoils=self._spoils, at=at)

    @property
    def reached(self) -> bool:
        """Whether there was such a call."""
        return self.life.made > self._number

    @property
    def struck(self) -> bool:
        """Whether something went wrong: only writes of DynamoDB meet a conflict."""
        return self._fault is not None and self.reached and (self._fault != "conflict" or self._spoilt in WRITES)

    def _spoils(self, name: str) -> str | None:
        if next(self._calls) != self._number:
            return None
        self._spoilt = name
        return self._fault
