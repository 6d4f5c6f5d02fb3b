"""AWS calls as subsegments of X-Ray, where the X-Ray SDK is there.

The SDK is no requirement: it asks for botocore, 17 MB that the Lambda runtime has already. `make vendor` puts the SDK
alone into the package.
"""

import os


def trace_aws_calls() -> bool:
    """From now on each call of AWS is a subsegment; whether it is: only in Lambda, and with the SDK. Repeat at will."""
    if not os.environ.get("LAMBDA_TASK_ROOT"):
        return False
    try:
        from aws_xray_sdk.core import patch, xray_recorder  # type: ignore[import-untyped]
    except ImportError:
        return False
    # Outside of an invocation (an import, a thread that outlived one) there is no segment to belong to: no fault.
    xray_recorder.configure(context_missing="IGNORE_ERROR")
    # botocore alone: what lies below every client. All that the SDK can patch would take 100 ms more.
    patch(("botocore",))
    return True
