"""Notifications of the operators, by SNS."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib.adapters.aws_faults import faults

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


@dataclass(frozen=True)
class AlertTopic:
    """The port `Alerts` on SNS: a topic, by its ARN, or by its name in the account that this runs in."""

    client: "SNSClient"
    topic: str

    def send(self, subject: str, text: str, account: str) -> None:
        """One notification. Raises Unavailable, Rejected."""
        arn = self.topic
        if not arn.startswith("arn:"):
            arn = f"arn:{self.client.meta.partition}:sns:{self.client.meta.region_name}:{account}:{self.topic}"
        with faults():
            self.client.publish(TopicArn=arn, Subject=subject, Message=text)
