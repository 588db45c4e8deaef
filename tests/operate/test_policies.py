"""A policy's text says which service may act for which source."""

import json
from typing import Any

import pytest

from tools.operate.policies import ONLY_TLS, allows, denials

SOURCE = "arn:aws:s3:::mine"
STATEMENT = {
    "Effect": "Allow",
    "Principal": {"Service": "s3.amazonaws.com"},
    "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
    "Resource": "*",
}


def ask(**change: Any) -> bool:  # noqa: ANN401 - any part of a statement
    policy = json.dumps({"Statement": [{**STATEMENT, **change}]})
    return allows(policy, "s3.amazonaws.com", "kms:GenerateDataKey", SOURCE)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Action": "KMS:*"},
        {"Principal": "*"},
        {"Principal": {"AWS": "*"}},
        {"Principal": {"Service": ["events.amazonaws.com", "s3.amazonaws.com"]}},
        {"Condition": {"ArnLike": {"AWS:SourceArn": ["arn:aws:s3:::other", "arn:aws:s3:::m*"]}}},
        {"Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}}},
    ],
)
def test_a_statement_that_fits_allows(change: dict[str, Any]) -> None:
    assert ask(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"Effect": "Deny"},
        {"Action": "kms:Decrypt"},
        {"Principal": {"Service": "events.amazonaws.com"}},
        {"Principal": {"AWS": "arn:aws:iam::123456789012:root"}},
        {"Condition": {"ArnEquals": {"aws:SourceArn": "arn:aws:s3:::other"}}},
    ],
)
def test_a_statement_that_does_not_fit_allows_nothing(change: dict[str, Any]) -> None:
    assert not ask(**change)


@pytest.mark.parametrize(
    ("change", "may_deny"),
    [
        ({}, True),
        ({"Principal": "*"}, True),
        ({"Condition": {"StringNotEquals": {"aws:PrincipalOrgID": "o-1"}}}, True),
        ({"Condition": {"ArnNotEquals": {"aws:SourceArn": SOURCE}}}, True),
        ({"Condition": {"ArnEquals": {"aws:SourceArn": "arn:aws:s3:::other"}}}, False),
        ({"Condition": ONLY_TLS}, False),
        ({"Action": "kms:Decrypt"}, False),
        ({"Principal": {"Service": "events.amazonaws.com"}}, False),
        ({"Effect": "Allow"}, False),
    ],
)
def test_a_statement_that_may_deny_is_named(change: dict[str, Any], may_deny: bool) -> None:  # noqa: FBT001 - a parameter
    statement = {**STATEMENT, "Sid": "No", "Effect": "Deny", **change}
    without = {name: part for name, part in statement.items() if name != "Sid"}
    policy = json.dumps({"Statement": [statement, without]})
    named = ["No", "a statement without Sid"] if may_deny else []
    assert denials(policy, "s3.amazonaws.com", "kms:GenerateDataKey", SOURCE) == named


@pytest.mark.parametrize("absent", ["Principal", "Action"])
def test_a_statement_with_exceptions_may_deny_and_does_not_allow(absent: str) -> None:
    statement = {name: part for name, part in STATEMENT.items() if name != absent}
    asked = ("s3.amazonaws.com", "kms:GenerateDataKey", SOURCE)
    assert not allows(json.dumps({"Statement": statement}), *asked)
    assert denials(json.dumps({"Statement": {**statement, "Effect": "Deny"}}), *asked)


def test_no_policy_allows_nothing() -> None:
    assert not allows("", "s3.amazonaws.com", "kms:Decrypt", SOURCE)
