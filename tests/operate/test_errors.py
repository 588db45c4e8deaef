"""What the operator did wrong, or may not do, is said in one sentence."""

import json

import pytest
from botocore.exceptions import (
    ClientError,
    NoCredentialsError,
    NoRegionError,
    UnauthorizedSSOTokenError,
)
from canned import serve_responses
from operate.conftest import Deploy, Run, client

from tools.operate.errors import MissingPermissionError, OperatorError, explained


def refusal(operation: str, code: str, message: str = "") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


DENIED = (
    "User: arn:aws:iam::1:user/me is not authorized to perform: kms:Decrypt on resource:"
    " arn:aws:kms:us-east-1:1:key/k because no identity-based policy allows it"
)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            NoCredentialsError(),
            "There is no valid AWS login (Unable to locate credentials). Log in",
        ),
        (UnauthorizedSSOTokenError(), "There is no valid AWS login (The SSO session"),
        (NoRegionError(), "No AWS region is set. Set AWS_REGION to the stack's."),
        (refusal("X", "ExpiredToken"), "The AWS login has expired or is not valid (ExpiredToken)"),
        (
            refusal("ReceiveMessage", "AccessDeniedException", DENIED),
            "You lack the permission kms:Decrypt on arn:aws:kms:us-east-1:1:key/k. Ask for it",
        ),
        (
            refusal("GetBucketNotificationConfiguration", "AccessDenied", "Access Denied"),
            "You lack the permission s3:GetBucketNotification. Ask for it",
        ),
        (refusal("Invoke", "Odd", "why"), "AWS refuses Invoke: Odd: why"),
    ],
)
def test_errors_of_aws_become_sentences(error: Exception, sentence: str) -> None:
    with pytest.raises(OperatorError) as raised, explained():
        raise error
    assert str(raised.value).startswith(sentence)
    assert isinstance(raised.value, MissingPermissionError) == ("lack the permission" in sentence)


@pytest.mark.parametrize("command", ["doctor", "status", "redrive", "reconcile"])
def test_a_wrong_stack_is_named_without_a_traceback(run: Run, command: str) -> None:
    for arguments, sentence in (
        ((command,), "Name the stack: STACK=s3-to-gcs"),
        ((command, "other"), "There is no stack other in us-east-1 of this account."),
    ):
        done = run(*arguments)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith(sentence)


def test_a_stack_of_something_else_is_named(run: Run) -> None:
    topic = {"Type": "AWS::SNS::Topic"}
    client("cloudformation").create_stack(
        StackName="web", TemplateBody=f'{{"Resources": {{"T": {topic}}}}}'.replace("'", '"')
    )
    for command in ("doctor", "status", "redrive"):
        assert "The stack web has no output" in run(command, "web").stderr
    assert "cannot compare both sides" in run("reconcile", "web").stderr


SERVICES = {"doctor": "LAMBDA", "status": "SQS", "redrive": "SQS", "reconcile": "SFN"}
"""A service that each command asks, beside CloudFormation."""

REFUSALS = {
    "AccessDeniedException": "You lack the permission states:It. Ask for it, or use another role",
    "ExpiredTokenException": "The AWS login has expired or is not valid (ExpiredTokenException)",
}


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("command", SERVICES)
def test_each_command_says_what_to_do_when_it_is_refused(
    deploy: Deploy, run: Run, monkeypatch: pytest.MonkeyPatch, command: str, code: str
) -> None:
    deploy()
    why = "User: arn:aws:iam::1:user/me is not authorized to perform: states:It"
    body = json.dumps({"__type": code, "code": code, "message": why}).encode()
    with serve_responses((403, body)) as service:
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{SERVICES[command]}", service.url)
        done = run(command, "my-stack")
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)  # and no traceback
    told = done.stdout if command == "doctor" else done.stderr
    assert REFUSALS[code] in " ".join(told.split())


def test_a_missing_login_is_said(deploy: Deploy, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy()
    with monkeypatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        done = run("status", "my-stack")
    assert done.exit_code == 1
    assert done.stderr.startswith("There is no valid AWS login (Unable to locate credentials)")
