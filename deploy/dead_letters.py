"""Who may fill a dead-letter queue: SQS from the order queue alone, and EventBridge with events that it could not log.

An overlay on the resources, which the stacks of the laptop and of the tests do not have.
"""

from typing import Any

from deploy.encryption import tls_statement
from deploy.stages import RESOURCES, read

_ARN = "arn:${AWS::Partition}:%s:${AWS::Region}:${AWS::AccountId}:%s"
_ORDERS = {"Fn::Sub": _ARN % ("sqs", "orderonce-${Stage}-orders")}
_RULE = {"Fn::Sub": _ARN % ("events", "rule/orderonce-${Stage}/orderonce-${Stage}-order-events")}


def overlay() -> dict[str, Any]:
    """The overlay; after encryption's, whose statement for every queue it repeats for the one that it adds."""
    queue = {"Fn::GetAtt": ["OrderEventsDeadLetters", "Arn"]}
    (target,) = read(RESOURCES)["Resources"]["OrderEventsRule"]["Properties"]["Targets"]
    events = {
        "Sid": "UndeliveredEvents",
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": _RULE}},
    }
    statements = [tls_statement("OrderEventsDeadLetters"), events]
    allowed = {"redrivePermission": "byQueue", "sourceQueueArns": [_ORDERS]}
    return {
        "Resources": {
            # By name: a reference to the order queue, which refers to this one, would be circular.
            "OrderDeadLetters": {"Properties": {"RedriveAllowPolicy": allowed}},
            "OrderEventsDeadLetters": {
                "Type": "AWS::SQS::Queue",
                "DeletionPolicy": "Retain",
                "UpdateReplacePolicy": "Retain",
                "Properties": {
                    "QueueName": {"Fn::Sub": "orderonce-${Stage}-order-events-dead-letters"},
                    "MessageRetentionPeriod": 1_209_600,
                },
            },
            "OrderEventsDeadLettersPolicy": {"Properties": {"PolicyDocument": {"Statement": statements}}},
            "OrderEventsRule": {"Properties": {"Targets": [{**target, "DeadLetterConfig": {"Arn": queue}}]}},
        }
    }
