"""What a person is asked for at a deployment."""

import re

import pytest
from template.stack import KEY, REQUIRED, SECRET

from replicate.gcs.compressed_upload import AT_ONCE
from tools.local.template import document, parameters

CHUNK_MB = 7.3
"""Of a compressed chunk, at most: 5 MiB of gzip with room to grow, and the buffer of a MiB."""


def test_only_the_three_names_have_no_default() -> None:
    assert {name for name, p in parameters().items() if "Default" not in p} == REQUIRED.keys()


def test_the_groups_show_every_parameter_once_and_the_required_ones_first() -> None:
    groups = document()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    shown = [name for group in groups for name in group["Parameters"]]

    assert sorted(shown) == sorted(parameters())
    assert set(shown[:3]) == REQUIRED.keys()


def test_the_template_lists_the_parameters_in_the_order_of_the_groups() -> None:
    """`sam deploy --guided` asks in the order of the template."""
    groups = document()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]

    assert list(parameters()) == [name for group in groups for name in group["Parameters"]]


def test_each_is_described_and_constrained() -> None:
    constraints = {"AllowedPattern", "AllowedValues", "MinValue", "MaxLength"}

    for name, parameter in parameters().items():
        assert parameter["Description"], name
        assert constraints & parameter.keys(), name


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("GcsBucketName", "replica.example.com", "gs://replica"),
        ("GcpCredentialsSecretArn", SECRET, '{"type": "service_account"}'),
        ("GcpCredentialsSecretArn", SECRET, SECRET.rpartition("-")[0]),
        ("GcpCredentialsSecretArn", SECRET, "arn:aws:secretsmanager:*:*:secret:*"),
        ("SourceBucketName", "my-source-bucket", "My_Bucket"),
        ("StorageClassMap", "", "STANDARD_IA=WARM"),
        ("StorageClassMap", "STANDARD_IA=NEARLINE,GLACIER_IR=COLDLINE", "STANDARD_IA"),
        ("SourcePrefix", "a+b/%C3%A4%3D1/", "photos/*"),
        ("SourceSuffix", ".jpg", "\\.jpg"),
        ("KmsKeyArn", KEY, KEY.replace("key/", "alias/")),
        ("DecryptKmsKeyArns", KEY, "arn:aws:kms:*:*:key/*"),
        ("VpcSubnetIds", "subnet-0123456789abcdef0", "vpc-01234567"),
        ("VpcSecurityGroupIds", "sg-01234567", "default"),
        ("AlarmEmail", "on-call@example.com", "example.com"),
        ("ParallelThreshold", "64KiB", "64 MB"),
        ("LargeObjectThreshold", "17179869184", "0 GiB"),
        ("LargeObjectThreshold", "16 GiB", ""),
        ("GcsKeyPrefix", "backup/2026 Q4/", "backup/\n"),
        ("LogKmsKeyArn", KEY, "alias/logs"),
        ("AlarmTopicKmsKeyArn", KEY, "alias/aws/sns"),
        ("GoogleApiDomains", "googleapis.com,sts.corp.example", "https://googleapis.com"),
        ("SourceBucketAccount", "123456789012", "12345678901"),
        ("PermissionsBoundaryArn", "arn:aws:iam::123456789012:policy/b", "arn:aws:iam::1:role/b"),
        ("RolePath", "/replication/gcs/", "/replication"),
    ],
)
def test_a_pattern_accepts_the_good_value_and_rejects_the_bad_one(
    name: str, good: str, bad: str
) -> None:
    pattern = parameters()[name]["AllowedPattern"]

    assert re.fullmatch(pattern, good)
    assert not re.fullmatch(pattern, bad)


def test_the_smallest_memory_holds_a_batch_of_compressed_objects() -> None:
    memory = parameters()["MemorySize"]
    batch, compressed = map(int, re.findall(r"(\d+) MB", memory["Description"])[-2:])

    assert batch + AT_ONCE * CHUNK_MB <= compressed <= memory["MinValue"]
