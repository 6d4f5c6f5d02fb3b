"""The schedules of `benchmarks.reliability`: what happens, what goes wrong at which call, and how the world goes on."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from benchmarks.designs import Answer, Request, Running
from tests.support.aws_calls import Killed
from tests.support.faults import Life, life
from tests.support.tables import stock_up
from tests.support.world import World

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

    def run(self, scenario: Scenario, fault: str | None, number: int, call: int) -> tuple[Run, Life]:
        """One schedule, and the life that the fault struck; it made no call of this number if there is none."""
        run = Run(self, number, scenario.gives_up)
        scenario.prepare(run)
        struck = life(fault, call) if fault else Life()
        if meanwhile := scenario.meanwhile:
            struck.at = {call: lambda: meanwhile(run, self.other)}
        self.struck.life = struck
        with suppress(Killed):
            scenario.act(run, self.struck)
        self.struck.life = Life()
        self._come_to_rest(run)
        struck.land()
        self._come_to_rest(run)
        return run, struck

    def _come_to_rest(self, run: Run) -> None:
        """The client repeats its requests, unless it has given up; then time passes until nothing is on the queue."""
        for request in run.requests if not run.gives_up else ():
            run.insist(request)
        for _ in range(10):
            self.go_on(seconds=61)
            if not self.queue.waiting():
                break

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
